"""The second door: `python -m train +experiment=character_r16`, with `-m` for a sweep.

It composes conf/ with Hydra, as `dvc repro` does, and calls the same stage functions.
"""

from lorakiln.console.exit_signals import end_by_signals, find_exit_status

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.console.standard_streams import UnreadError

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from omegaconf import DictConfig

# Everything large is imported late: a wrong setting is to be told in a second.

_failed: list[int] = []  # numbers of a basic sweep's jobs


# With these Hydra prints something and ends; who reads it may have seen enough (`--help | head`).
SHOWN = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"}


def main() -> None:
    check_place()
    import hydra

    from hydra_plugins.lorakiln_conf.composing import explaining_errors, read_strictly
    from hydra_plugins.lorakiln_conf.quoting import quote_names

    read_strictly()
    sys.argv[1:] = quote_names(sys.argv[1:])
    # Otherwise Hydra prints a traceback of its own for whatever goes wrong while it composes or makes the run's folder.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with explaining_errors():
        hydra.main(version_base="1.3", config_path="../conf", config_name="config")(run_composed)()


def run_composed(composed: "DictConfig") -> None:
    """What Hydra calls with the composed config, when hydra_plugins.lorakiln_conf.first has seen to it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from hydra_plugins.lorakiln_conf.composing import to_plain_settings
    from lorakiln.console.errors import explain_error
    from lorakiln.schema.whole_config import check_whole

    hydra_config = HydraConfig.get()
    try:
        config = check_whole(to_plain_settings(composed))
        from lorakiln.runs import run_pipeline

        run_pipeline(config, Path(hydra_config.runtime.output_dir), hydra_config.runtime.choices.get("experiment"))
    except Exception as error:
        if status := find_exit_status():  # of which a library made an error of its own
            sys.exit(status)
        told = explain_error(error)
        sweep, mistake = hydra_config.mode == RunMode.MULTIRUN, told is not None
        if sweep and not (mistake and _in_this_process(hydra_config)):
            # Another launcher keeps the error as this job's result; the sweep's other jobs go on.
            logging.getLogger(__name__).error("%s", error)
            raise
        if mistake:
            print(f"error: {told}", file=sys.stderr, flush=True)
        else:  # ours to mend, and no fault of the settings', for which it would be taken from here on
            traceback.print_exc()
        if not sweep:
            sys.exit(1)
        # Raised here, Hydra would show it with a traceback when the last job has ended.
        _failed.append(hydra_config.job.num)


def check_place() -> None:
    """Raise UserError in a checkout whose code is not what runs: conf/ would be another's, the pictures its own; and
    where the code is an installed package's, which has no conf/.
    """
    here = Path("src") / "train.py"
    if here.is_file() and not here.samefile(__file__):
        raise UserError(
            f"this checkout has code of its own, but that of {Path(__file__).absolute().parents[1]} is run",
            where=Path.cwd(),
            fix="put PYTHONPATH=src in front of the command, or use this checkout's environment",
        )
    if not (Path(__file__).absolute().parents[1] / "conf").is_dir():
        raise UserError(
            "there is no conf/: training needs the project's checkout, and this is an installed package",
            where=Path.cwd(),
            fix="go to a checkout, and put PYTHONPATH=src in front of the command",
        )


def _in_this_process(hydra_config: "HydraConf") -> bool:
    """Whether the sweep's jobs run in the process that ends with the exit status: `hydra/launcher=basic`."""
    return hydra_config.launcher["_target_"].endswith("BasicLauncher")


def entry() -> int:
    """The exit status: 1 if a job of `hydra/launcher=basic` failed; other failures end the process by themselves."""
    try:
        main()
        sys.stdout.flush()
    except UnreadError:
        if not SHOWN & set(sys.argv):
            raise
        return 128 + signal.SIGPIPE
    if _failed:
        print(f"failed: job{'s' * (len(_failed) > 1)} {', '.join(map(str, _failed))}", file=sys.stderr, flush=True)
    return 1 if _failed else 0


if __name__ == "__main__":
    sys.exit(exit_on_user_error(entry))
