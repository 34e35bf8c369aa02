"""`caption`: outputs/prepared -> outputs/captioned, the same pictures with a text each."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys
from pathlib import Path

import lorakiln.tools
from lorakiln.artefacts.code_digest import find_code
from lorakiln.artefacts.folder_state import FolderState
from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.output_record import OutputRecord, list_folders
from lorakiln.chain import CAPTION, list_schema_modules
from lorakiln.console.errors import exit_on_user_error
from lorakiln.facts.dataset import Dataset
from lorakiln.schema.captioners import CAPTIONERS
from lorakiln.schema.model import Source
from lorakiln.schema.train import TrainSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved

TEMPLATES = Path(lorakiln.tools.__path__[0]) / "templates"


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = {
        "caption": resolved.check(CAPTIONERS.chosen(), "caption"),
        "model.captioner": resolved.check(Source, "model.captioner"),
    }
    facts = resolved["prepared"] / "dataset.json"
    # Where it is missing, the stage says so.
    raw = resolved["raw"] / (Dataset.read(facts).name if facts.is_file() else "")
    state = FolderState(raw)
    CAPTION.update({**resolved.folders, "raw": raw}, settings)
    state.check()
    write_page(resolved)


def write_page(resolved: Resolved) -> None:
    """The page about the dataset, beside the output, for it also tells of settings that are none of this stage's."""
    captioned, prepared, train = resolved["captioned"], resolved["prepared"], resolved.check(TrainSettings, "train")
    page = captioned.with_name(f"{captioned.name}.html")
    code = find_code("lorakiln.tools.dataset_page", *list_schema_modules())
    key = hash_data(code.digest, code.libraries, train.model_dump(mode="json"))
    inputs = {"captioned": captioned, "prepared": prepared, "templates": TEMPLATES}
    record = OutputRecord(page, key, lambda: list_folders(inputs))
    if record.is_current():
        print(f"caption: nothing has changed since {page} was written", flush=True)
        return
    # Imported late: it counts the training's steps by what trains.
    from lorakiln.tools.dataset_page import write_dataset_page

    with record.keeping():
        write_dataset_page(captioned, prepared, train, page)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
