"""`caption`: outputs/prepared -> outputs/captioned, the same pictures with a text each."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.artefacts.folder_state import FolderState
from lorakiln.console.errors import exit_on_user_error
from lorakiln.facts import Dataset
from lorakiln.schema.captioners import CAPTIONERS
from lorakiln.schema.model import Source
from lorakiln.schema.train import TrainSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    from lorakiln.caption import caption
    from lorakiln.tools.dataset_page import write_dataset_page

    keep_lock()
    resolved = Resolved()
    settings = resolved.check(CAPTIONERS.chosen(), "caption")
    captioner = resolved.check(Source, "model.captioner")
    prepared = resolved["prepared"]
    facts = prepared / "dataset.json"
    # Where it is missing, the stage says so.
    raw = resolved["raw"] / (Dataset.read(facts).name if facts.is_file() else "")
    state = FolderState(raw)
    out = resolved["captioned"]
    caption(prepared, raw, out, settings, captioner)
    state.check()
    # Beside the output, for it also tells of settings that are none of this stage's.
    write_dataset_page(out, prepared, resolved.check(TrainSettings, "train"), out.with_name(f"{out.name}.html"))


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
