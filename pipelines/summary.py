"""What `make demo` ends with: the numbers that matter, and where the report is."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from rich.console import Console

from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.facts.lora import LoraFacts
from pipelines.resolved import Resolved


def main() -> None:
    resolved = Resolved()
    report, lora = resolved["report"], resolved["lora"]
    if not (report / "report.html").exists():
        raise UserError("not there yet", where=report / "report.html", fix="run `dvc repro` first")
    facts = LoraFacts.read(lora / "facts.json")
    console = Console(highlight=False)
    console.print(f"\nLoRA:   {lora / facts.file}  (rank {facts.rank}, step {facts.step})", soft_wrap=True)
    for line in (report / "summary.txt").read_text(encoding="utf-8").splitlines():
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"Report: {(report / 'report.html').resolve()}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
