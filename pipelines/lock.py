"""dvc.lock, kept while DVC runs a stage.

DVC empties dvc.lock and then writes it anew after every stage (`_dump_data` in dvc/utils/serialize/_common.py). Killed
in between it leaves nothing or a part, which the next `dvc repro` refuses, so that no command of DVC works. While it
runs a stage the file is whole: that is when a copy is made.
"""

import os
from pathlib import Path

from lorakiln.artefacts.json_files import write_text
from pipelines.resolved import RESOLVED

LOCK = Path("dvc.lock")
KEPT = RESOLVED.with_name(".dvc_lock")


def keep_lock() -> None:
    """Copy dvc.lock to outputs/.dvc_lock, whole or not at all, if DVC started this program.

    By hand a stage may be run beside a dvc.lock that is torn, and the copy is then what mends it.
    """
    if "DVC_STAGE" in os.environ and LOCK.exists():
        write_text(KEPT, LOCK.read_text(encoding="utf-8"))
