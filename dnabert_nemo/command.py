"""What every entry point in examples/ shares: Hydra reads the config, errors are one line and exit code 2."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import hydra
import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dnabert_nemo.errors import DnabertError

CONF = Path(__file__).resolve().parent.parent / "conf"

# A command leaves its output where the config says and nowhere else: no dated folders, no second log format.
_HYDRA_DEFAULTS = {
    "hydra.run.dir": ".",
    "hydra.output_subdir": "null",
    "hydra/job_logging": "none",
    "hydra/hydra_logging": "none",
}

# What the libraries say of themselves at every start, most of it on import.
_NO_NEWS = (
    r"(Transformer Engine and )?Apex (is|are) not installed",  # nothing here needs them
    r"full scope is deprecated",  # megatron-core, of its own default
    r"The \.grad attribute of a Tensor that is not a leaf",  # megatron-core looks for one
    r".*sync_dist=True",  # what is logged is summed over the ranks already
)


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make `main(cfg)` a command that composes `conf/<config_name>.yaml` with its overrides.

    The command takes Hydra's own flags (`--config-name`, `--config-dir`, `--cfg job`, `--help`). An unknown
    key, a missing value (`???`) or any `DnabertError` ends it with one line on stderr and exit code 2.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        def run() -> None:
            _plain_lines()
            # Before torch loads: a thread that waits leaves its core to others, a third of the time on a busy
            # machine.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole; what is printed is decided below
            sys.argv = _with_defaults(sys.argv)
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                    _checked(main)
                )()
            except (HydraException, OmegaConfBaseException) as error:
                _fail(_hydra_message(error))
            except yaml.YAMLError as error:
                _fail(f"a config is not YAML: {' '.join(str(error).split())}: correct it there")
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                sys.exit(130)

        return run

    return decorate


def _with_defaults(arguments: list[str]) -> list[str]:
    """Add Hydra's settings to the overrides, where those stand: Hydra wants all of them side by side."""
    given = {argument.lstrip("+").split("=", 1)[0] for argument in arguments[1:]}
    added = [f"{key}={value}" for key, value in _HYDRA_DEFAULTS.items() if key not in given]
    overrides = [at for at, one in enumerate(arguments) if at and "=" in one and not one.startswith("-")]
    after = overrides[-1] + 1 if overrides else len(arguments)
    return arguments[:after] + added + arguments[after:]


def listed(value: object) -> tuple[str, ...] | None:
    """Take a list in a config, or the one thing in its place, as strings; None stays None."""
    if value is None:
        return None
    return tuple(map(str, value)) if isinstance(value, list | ListConfig) else (str(value),)


def _plain_lines() -> None:
    """Print what this package logs, from the first rank only, as lines without ornament."""
    for message in _NO_NEWS:
        warnings.filterwarnings("ignore", message=message)
    # telemetry that NeMo starts and that goes nowhere
    logging.getLogger("nv_one_logger").setLevel(logging.ERROR)
    log = logging.getLogger("dnabert_nemo")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.propagate = False
    rank = next(
        (os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0"
    )
    log.setLevel(logging.INFO if rank == "0" else logging.WARNING)


def _checked(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    def check_then_run(cfg: DictConfig) -> None:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            _fail(f"no value for {', '.join(missing)}: pass {missing[0]}=VALUE on the command line")
        try:
            main(cfg)
        except (
            DnabertError
        ) as error:  # here, since Hydra prints a line of its own about what passes through it
            _fail(str(error))

    return check_then_run


def _hydra_message(error: Exception) -> str:
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} on the command line: write key=VALUE, lists as [a,b]"
    cause = error.__cause__ or error
    first = str(cause).strip().splitlines()[0]
    key = getattr(cause, "full_key", None)
    outer = str(error).strip().splitlines()[0]
    if "is not in struct" in str(cause):
        return f"{outer.rstrip('.')}: {key or 'it'} is no key of this config; `--cfg job` prints its keys"
    return outer if first == outer else f"{outer} ({first})"


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
