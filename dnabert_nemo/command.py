"""What every entry point in examples/ shares: Hydra reads the config, errors are one line and exit code 2."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from dnabert_nemo.errors import ConfigError, DnabertError, TrainingError

CONF = (Path(__file__).resolve().parent / "conf").resolve()  # the repository's by a link, or a wheel's own

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
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole; what is printed is decided below
            sys.argv = _with_defaults(list(map(_quoted, sys.argv)))
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                    _checked(main)
                )()
            except (HydraException, OmegaConfBaseException) as error:
                _fail(hydra_message(error))
            except yaml.YAMLError as error:
                _fail(f"a config is not YAML: {' '.join(str(error).split())}: correct it there")
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                sys.exit(130)

        return run

    return decorate


def _quoted(argument: str) -> str:
    """Quote a path such as checkpoints/step=6.ckpt in an override, whose second `=` Hydra would not read."""
    return re.sub(r"^([^-=][^=]*)=([\w./@:%+~-]+=[\w./@:%+~=-]+)$", r'\1="\2"', argument)


def _with_defaults(arguments: list[str]) -> list[str]:
    """Add Hydra's settings to the overrides, where those stand: Hydra wants all of them side by side."""
    given = {argument.lstrip("+").split("=", 1)[0] for argument in arguments[1:]}
    added = [f"{key}={value}" for key, value in _HYDRA_DEFAULTS.items() if key not in given]
    overrides = [at for at, one in enumerate(arguments) if at and "=" in one and not one.startswith("-")]
    after = overrides[-1] + 1 if overrides else len(arguments)
    return arguments[:after] + added + arguments[after:]


def composed(config_name: str, overrides: Sequence[str], config_dir: str | Path | None = None) -> DictConfig:
    """Compose `conf/<config_name>.yaml` as a command does, without Hydra taking over the process.

    Args:
        config_dir: a folder of configs besides, as `--config-dir` names one.

    Raises:
        ConfigError: an unknown folder, config or key, or a line that cannot be read.
    """
    first, lines = CONF, list(map(_quoted, overrides))
    if config_dir is not None:
        own = Path(config_dir).resolve()
        if not own.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        is_there = Path(own, f"{config_name.removesuffix('.yaml')}.yaml").is_file()
        first, second = (own, CONF) if is_there else (CONF, own)
        lines.append(f'hydra.searchpath=["file://{second}"]')
    hydras = GlobalHydra.instance()
    own_command, hydras.hydra = hydras.hydra, None  # that of a command which composes another's config
    try:
        with hydra.initialize_config_dir(str(first), version_base="1.3"):
            return hydra.compose(config_name, lines)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(hydra_message(error)) from error
    finally:
        hydras.hydra = own_command


def listed(value: object) -> tuple[str, ...] | None:
    """Take a list in a config, or the one thing in its place, as strings; None stays None."""
    if value is None:
        return None
    return tuple(map(str, value)) if isinstance(value, list | ListConfig) else (str(value),)


def keyed(config: Mapping[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    """Take a part of a config that has keys of its own; null is one without.

    Raises:
        ConfigError: there is something else in its place, as after `split=19`.
    """
    found = config[key]
    if not isinstance(found, Mapping | None):
        raise ConfigError(f"{prefix}{key}={found}: it has keys of its own: pass {prefix}{key}.KEY=VALUE")
    return dict(found or {})


def quiet_imports() -> None:
    """Leave out what the libraries say of themselves when they are imported; call it before."""
    for message in _NO_NEWS:
        warnings.filterwarnings("ignore", message=message)
    # telemetry that NeMo starts and that goes nowhere
    logging.getLogger("nv_one_logger").setLevel(logging.ERROR)


def _plain_lines() -> None:
    """Print what this package logs, from the first rank only, as lines without ornament."""
    quiet_imports()
    log = logging.getLogger("dnabert_nemo")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.propagate = False
    log.setLevel(logging.INFO if _is_first_rank() else logging.WARNING)


def _is_first_rank() -> bool:
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def _checked(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    def check_then_run(cfg: DictConfig) -> None:
        missing = _missing(cfg)
        if missing:
            _fail(f"no value for {', '.join(missing)}: pass {missing[0]}=VALUE on the command line")
        try:
            main(cfg)
        except DnabertError as error:  # here, since Hydra prints a line about what passes through it
            if isinstance(error, TrainingError) and not _is_first_rank():
                sys.exit(0)  # the first rank says it; on any other code Lightning would kill that one at once
            _fail(str(error))

    return check_then_run


def _missing(cfg: DictConfig) -> list[str]:
    try:
        return sorted(OmegaConf.missing_keys(cfg))
    except InterpolationToMissingValueError as error:  # a key that is made of another, ${task.name}
        return [str(error).splitlines()[0].rsplit(": ", 1)[-1]]


def hydra_message(error: Exception) -> str:
    """Return one line of what Hydra or OmegaConf found wrong with a config, by the names of its keys."""
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} on the command line: write key=VALUE, lists as [a,b]"
    if isinstance(error, MissingConfigException):
        return _not_found(error)
    cause = error.__cause__ or error
    first = str(cause).strip().splitlines()[0]
    key = getattr(cause, "full_key", None)
    outer = str(error).strip().splitlines()[0]
    if group := re.match(r"Multiple values for (\w+)\.", outer):
        return f"{group[1]} is chosen twice: write {group[1]}=NAME once, without +"
    if "is not in struct" in str(cause):
        return f"{outer.rstrip('.')}: {key or 'it'} is no key of this config; `--cfg job` prints its keys"
    return outer if first == outer else f"{outer} ({first})"


def _not_found(error: MissingConfigException) -> str:
    known = sorted(error.options or (path.stem for path in CONF.glob("*.yaml")))
    group = CONF / str(error.missing_cfg_file).partition("/")[0]
    if error.options and group.is_dir():  # those in folders of the group are not among the options
        inside = (path.relative_to(group).with_suffix("").as_posix() for path in group.glob("*/*.yaml"))
        known = sorted({*known, *inside})
    return f"no config {error.missing_cfg_file!r}: choose {', '.join(known)}, or one of --config-dir"


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
