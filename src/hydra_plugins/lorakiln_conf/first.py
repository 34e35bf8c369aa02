"""The config is checked before Hydra writes its own copy of it into the run's folder."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.lorakiln_conf._files import FileConfigSource
from hydra_plugins.lorakiln_conf.composing import explaining_errors, to_plain_settings
from hydra_plugins.lorakiln_conf.nearest import check_groups
from hydra_plugins.lorakiln_conf.sweep_options import check_options
from lorakiln.console.errors import UserError
from lorakiln.schema.secrets import check_no_secrets, mask_secrets
from lorakiln.schema.whole_config import check_whole


class CheckFirst(Callback):
    """What Hydra calls when it has composed and nothing is written yet.

    `.hydra` and a sweep's multirun.yaml hold the command line: a key that somebody gives there must not get so far.
    """

    def on_run_start(self, config: DictConfig, **more: Any) -> None:
        _end_if_wrong(lambda: _check_run(config))

    def on_multirun_start(self, config: DictConfig, **more: Any) -> None:
        _end_if_wrong(lambda: _check_sweep(config))


def _end_if_wrong(check: Callable[[], None]) -> None:
    try:
        with explaining_errors():
            check()
    except UserError as error:
        # Hydra makes a warning of any exception, and goes on.
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _check_run(config: DictConfig) -> None:
    _check_command_line(config)
    folder = str(config.hydra.run.dir)
    check_no_secrets({"hydra.run.dir": folder})
    # As Hydra itself does next: a setting may stand for one of Hydra's, the folder among them.
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = os.path.abspath(folder)
    HydraConfig.instance().set_config(config)
    check_whole(to_plain_settings(_own(config)))
    _check_place(config)


def _check_sweep(config: DictConfig) -> None:
    """The jobs' settings are checked job by job; one that is wrong does not sink the others."""
    _check_command_line(config)
    check_no_secrets(_as_written(_own(config)))
    check_no_secrets(_as_written(config.hydra.sweeper))
    check_options(config.hydra)
    _check_place(config)


def _check_place(config: DictConfig) -> None:
    """Folders are relative to the project's: nothing is written into another one."""
    raw, root = Path(str(OmegaConf.select(config, "paths.raw"))), FileConfigSource.root
    assert root is not None  # by which the config was read
    project = root.absolute().parent
    if not raw.is_dir() and (project / raw).is_dir():
        go = f"cd {quote(str(project))}"
        raise UserError(f"there is no {raw} here", where=Path.cwd(), fix=f"go to the project's folder first: {go}")


def _own(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _as_written(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))


def _check_command_line(config: DictConfig) -> None:
    # Not resolved: what they refer to is right beside the setting that they set, and not here.
    given = _as_written(config.hydra.overrides)
    texts: dict[str, list[str]] = {}
    for override in [*given["hydra"], *given["task"]]:
        key = override.partition("=")[0].lstrip("+~")
        texts.setdefault(mask_secrets(key), []).append(override)
    check_no_secrets({key: "\n".join(overrides) for key, overrides in texts.items()})
    check_groups(list(texts))
