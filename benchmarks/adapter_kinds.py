"""What each kind of adapter learns of the demo's style, in as many steps, as a table.

    python -m benchmarks.adapter_kinds FOLDER [KIND ...]

Trains each kind as the demo's experiment says but for its rate, at full strength, into FOLDER/KIND, and asks the report
of eight prompts from two seeds. A kind whose report is there already is read and not trained again.
"""

import subprocess
import sys
from pathlib import Path

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.sweep.objectives import read_numbers

# Rates at which the kinds' changes of a weight grow about alike: AdamW moves every number by its rate, and what that
# does to the weight differs with what it is multiplied by.
RATES = {
    "lora": 1e-3,
    "rslora": 5e-4,
    "dora": 1e-3,
    "loha": 1e-3,
    "lokr": 2e-3,
    "oft": 2e-3,
    "boft": 2e-3,
    "ia3": 1e-2,
}
COMMON = (
    "+experiment=demo_style",
    "export.strength=1",
    "export.precision=fp32",
    "train/tracker=none",
    "train.samples.every=0",
    "evaluate.quick=true",
    "evaluate.between=[]",
)
HEAD = "| kind | rate | style | right thing | validation loss | parameters | seconds |\n|---|---|---|---|---|---|---|"


def main() -> None:
    folder, *chosen = sys.argv[1:]
    rows = []
    for kind in chosen or RATES:
        place = Path(folder) / kind
        if not (place / "report" / "metrics.json").is_file():
            more = [f"train/adapter={kind}", f"train.optimizer.lr={RATES[kind]}", f"hydra.run.dir={place}"]
            subprocess.run([sys.executable, "-m", "train", *COMMON, *more], check=True, stdout=subprocess.DEVNULL)
        full, base = read_numbers(place)
        rows = rows or [f"| base | | {base['right_style']:.0%} | {base['right_thing']:.0%} | | | |"]
        seconds = read_json(place / "run" / "provenance.json")["seconds"]
        rows.append(
            f"| `{kind}` | {RATES[kind]:g} | {full['right_style']:.0%} | {full['right_thing']:.0%} | "
            f"{full['validation_loss']:.4f} | {_count(place):,} | {seconds:.0f} |"
        )
    print(HEAD, *rows, sep="\n")


def _count(place: Path) -> int:
    """The trained numbers: those of the exported file, but for its alphas."""
    tensors, _ = load_tensors(place / "lora" / read_json(place / "lora" / "facts.json")["file"])
    return sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith((".alpha", ".on_input")))


if __name__ == "__main__":
    main()
