"""The second door: `python -m train +experiment=character_r16`, with `-m` for a sweep.

It composes conf/ with Hydra, as `dvc repro` does, and calls the same stage functions.
"""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lorakiln.console.errors import UserError
from lorakiln.schema.whole import check_whole

_failed: list[int] = []  # numbers of a basic sweep's jobs


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(composed: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    try:
        config = check_whole(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
        # Imported late: a wrong setting is told in a second, not after torch and diffusers have loaded.
        from lorakiln.runs import run

        run(config, Path(hydra_config.runtime.output_dir))
    except UserError as error:
        if hydra_config.mode == hydra.types.RunMode.MULTIRUN and not _in_this_process(hydra_config):
            # Another launcher keeps the error as this job's result; the sweep's other jobs go on.
            logging.getLogger(__name__).error("%s", error)
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        if hydra_config.mode != hydra.types.RunMode.MULTIRUN:
            sys.exit(1)
        # Raised here, Hydra would show it with a traceback when the last job has ended.
        _failed.append(hydra_config.job.num)


def _in_this_process(hydra_config: DictConfig) -> bool:
    """Whether the sweep's jobs run in the process that ends with the exit status: `hydra/launcher=basic`."""
    return hydra_config.launcher._target_.endswith("BasicLauncher")


def entry() -> int:
    """The exit status: 1 if a job of `hydra/launcher=basic` failed; other failures end the process by themselves."""
    main()
    if _failed:
        print(f"failed: job{'s' * (len(_failed) > 1)} {', '.join(map(str, _failed))}", file=sys.stderr, flush=True)
    return 1 if _failed else 0


if __name__ == "__main__":
    sys.exit(entry())
