"""`lorakiln blind`: which of several LoRA files draws better, by somebody who does not see which is which."""

from pathlib import Path
from typing import Annotated

import typer

from lorakiln.cli.compare import Given, compose, name_folder, run_comparison, split_arguments
from lorakiln.cli.review import Port, explaining_missing_server

ANSWERS = "answers.json"


def blind(
    given: Given,
    most: Annotated[int, typer.Option(min=1, help="pairs that are asked about")] = 100,
    port: Port = 0,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="[runs/blind/<the files' names>]")] = None,
) -> None:
    """Show pairs of pictures in the browser, of hidden files from the same prompt and seed, and keep which is better;
    in the end, how often each file won and how often the measures agree."""
    files, overrides = split_arguments(given)
    config = compose(overrides)
    with explaining_missing_server():
        from lorakiln.compare.blind.server import Blind
        from lorakiln.serving.local import serve
    from lorakiln.compare.blind.answers import Answers
    from lorakiln.compare.blind.questions import list_questions

    out = out or Path("runs/blind") / name_folder(files)
    compared = run_comparison(files, config, out / "comparison")
    answers = Answers(list_questions(compared.plan, most), out / ANSWERS)
    site = Blind(answers, compared.measured.assessed, out / "comparison/samples", print_result)

    def tell(address: str) -> None:
        print(f"blind: open {address}\n  answers are kept as they are given; Ctrl-C ends it", flush=True)

    before = len(answers.given)
    try:
        serve(site, port, tell)
    finally:
        if len(answers.given) != before and answers.find_next() is not None:
            print_result(site.describe())


def print_result(lines: list[str]) -> None:
    print("\n".join(f"blind: {line}" for line in lines), flush=True)
