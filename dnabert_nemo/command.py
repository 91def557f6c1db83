"""What every entry point in examples/ shares: Hydra reads the config, errors end in one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dnabert_nemo.errors import ConfigError, DnabertError

CONF = Path(__file__).resolve().parent.parent / "conf"

# A command leaves its output where the config says and nowhere else: no dated folders, no second log format.
_HYDRA_DEFAULTS = {"hydra.run.dir": ".", "hydra.output_subdir": "null", "hydra/job_logging": "none", "hydra/hydra_logging": "none"}


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make `main(cfg)` a command that composes `conf/<config_name>.yaml` with the overrides on its command line.

    The command takes Hydra's own flags (`--config-name`, `--config-dir`, `--cfg job`, `--help`). An unknown key,
    a missing value (`???`) or any `DnabertError` ends it with one line on stderr and exit code 2.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        def run() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us whole; what is printed is decided below
            given = {argument.lstrip("+").split("=", 1)[0] for argument in sys.argv[1:]}
            sys.argv += [f"{key}={value}" for key, value in _HYDRA_DEFAULTS.items() if key not in given]
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(_checked(main))()
            except DnabertError as error:
                _fail(str(error))
            except (HydraException, OmegaConfBaseException) as error:
                _fail(_hydra_message(error))

        return run

    return decorate


def _checked(main: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    def check_then_run(cfg: DictConfig) -> None:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise ConfigError(f"no value for {', '.join(missing)}: pass {missing[0]}=VALUE on the command line")
        main(cfg)

    return check_then_run


def _hydra_message(error: Exception) -> str:
    cause = error.__cause__ or error
    first = str(cause).strip().splitlines()[0]
    key = getattr(cause, "full_key", None)
    outer = str(error).strip().splitlines()[0]
    if "is not in struct" in str(cause):
        return f"{outer.rstrip('.')}: unknown config key{f' {key!r}' if key else ''}; `--cfg job` prints the keys there are"
    return outer if first == outer else f"{outer} ({first})"


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
