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


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(composed: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    try:
        config = check_whole(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
        # Imported late: a wrong setting is told in a second, not after torch and diffusers have loaded.
        from lorakiln.runs import run

        run(config, Path(hydra_config.runtime.output_dir), hydra_config.runtime.choices.get("experiment"))
    except UserError as error:
        if hydra_config.mode == hydra.types.RunMode.MULTIRUN:
            # The launcher keeps the error as this job's result; the sweep's other jobs go on.
            logging.getLogger(__name__).error("%s", error)
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
