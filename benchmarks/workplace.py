"""A folder in which the stages run as `dvc repro` runs them, on settings of its own.

    python -m benchmarks.workplace FOLDER OVERRIDE ...

It has the checkout's conf/, data/ and models/, and an outputs/resolved.yaml of these overrides; the benchmarks start
`python -m pipelines.<stage>` in it.
"""

import sys
from pathlib import Path

from benchmarks.rounds import ROOT, Cost, run_measured

LINKED = ("conf", "data", "models")


def make_workplace(folder: Path, *overrides: str) -> Path:
    """Make it, in a process of its own: composing imports what no driver shall hold."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    run_measured([sys.executable, "-m", "benchmarks.workplace", folder, *overrides], folder, folder / "compose.log")
    return folder


def run_stage(folder: Path, stage: str) -> Cost:
    """Run one stage in a workplace."""
    return run_measured([sys.executable, "-m", f"pipelines.{stage}"], folder, folder / f"{stage}.log")


def main() -> None:
    from lorakiln.artefacts.json_files import write_text
    from lorakiln.schema.whole_config import check_whole
    from pipelines.compose import compose_config, format_resolved
    from pipelines.resolved import RESOLVED

    folder, *overrides = sys.argv[1:]
    config = check_whole(compose_config(overrides))
    write_text(Path(folder) / RESOLVED, format_resolved(config, None))


if __name__ == "__main__":
    from lorakiln.console.errors import exit_on_user_error

    sys.exit(exit_on_user_error(main))
