"""`scan`: data/raw/<dataset> -> outputs/pictures.md5, the names and hashes of its files.

It runs each time, and stands for the folder among the dependencies in dvc.yaml: DVC itself would open pipes and
devices, and looks before any of our code runs (docs/decisions/0019-dvc-sees-a-listing.md).
"""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.artefacts.dvc_pointers import check_pulled, is_outdated
from lorakiln.artefacts.file_listing import list_folder, read_states, write_states
from lorakiln.artefacts.file_safety import check_openable
from lorakiln.artefacts.json_files import write_text
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.prepare import PrepareSettings
from pipelines.resolved import RESOLVED, Resolved

LISTING = RESOLVED.with_name("pictures.md5")


def main() -> None:
    resolved = Resolved()
    settings = resolved.check(PrepareSettings, "prepare")
    raw = resolved["raw"] / settings.dataset
    check_pulled(raw)
    # With on_bad=skip `prepare` leaves out what links lead to.
    check_openable(raw, settings.follow_symlinks or settings.on_bad == "skip")
    states = resolved["cache"] / "scanned" / f"{settings.dataset}.json"
    listing = list_folder(raw, settings.follow_symlinks, read_states(states))
    write_states(states, listing)
    write_text(LISTING, listing.format())
    print(f"scan: {len(listing.files)} files in {raw}; new or changed since the last time: {listing.read}", flush=True)
    if is_outdated(raw, listing.compute_dvc_hash()):
        print(
            f"warning: {raw} is not what {raw}.dvc says\n  fix: `dvc add {raw}` keeps these pictures, "
            f"`dvc checkout {raw}.dvc` brings the old ones back",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
