"""Evaluate any LoRA file as the pipeline evaluates its own, with the pictures and prompts of an experiment:

    python -m pipelines.judge style.safetensors +experiment=demo_style [OVERRIDE ...] [--out runs/judged/style]

Writes OUT/report with report.html, grids and metrics.json.
"""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import argparse
import sys
from pathlib import Path

from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.judge", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="a LoRA file in any form")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as `python -m train` takes them")
    parser.add_argument("--out", type=Path, help="[runs/judged/<the file's name>]")
    given = parser.parse_intermixed_args()
    config = check_whole(compose_config(given.overrides))
    if not given.file.is_file():
        raise UserError("no such file", where=given.file, fix="name a LoRA file, such as outputs/lora/cat.safetensors")
    # Imported late: a wrong setting is told before torch has loaded.
    from lorakiln.evaluate import evaluate
    from lorakiln.evaluate.foreign_lora import import_lora
    from lorakiln.runs import make_dataset

    out = given.out or Path("runs") / "judged" / given.file.stem
    captioned = make_dataset(config) / "captioned"
    import_lora(given.file, captioned, out / "lora", config)
    evaluate(out / "lora", captioned, out / "run", out / "choice", out / "report", config.evaluate, config.model)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
