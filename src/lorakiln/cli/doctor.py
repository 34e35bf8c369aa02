"""`lorakiln doctor`: everything tried once on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lorakiln.cli.options import MODELS
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_generations

if TYPE_CHECKING:
    RandomBase = str
else:  # of the families that there are
    RandomBase = Literal[tuple(list_generations())]


def doctor(
    base: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help=f"{MODELS[0]}, {MODELS[-1]}, ..., a .yaml file, or a folder, file or hub id [tiny]"
        ),
    ] = None,
    random: Annotated[
        RandomBase | None, typer.Option(help="no base at hand: one of this shape with random weights")
    ] = None,
    micro_batch: Annotated[int, typer.Option(min=1, help="pictures at once in training")] = 1,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="train.trainer.gradient_checkpointing: less memory, slower")
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="leave the GPU alone")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON, at the end")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="the report, to attach to an issue")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace FILE if it is there")] = False,
) -> None:
    """Try everything once on this machine, from the device to a short training and its file; say what is wrong."""
    from lorakiln.artefacts.json_files import write_text
    from lorakiln.doctor.examination import run_examination
    from lorakiln.doctor.report import format_report, format_summary, is_well, to_data
    from lorakiln.doctor.request import ExaminationRequest
    from lorakiln.tools.output_targets import check_free

    if base is not None and random is not None:
        raise UserError("stands in the place of a base, and one is given", where="--random", fix="leave one out")
    if out is not None:
        check_free(out, overwrite, folder=False)
    asked = ExaminationRequest(base, random, micro_batch, checkpointing, cpu)
    checks = run_examination(asked, lambda check: None if as_json else print(check, flush=True))
    print(json.dumps(to_data(checks, asked.public()), indent=1) if as_json else format_summary(checks), flush=True)
    if out is not None:
        write_text(out, format_report(checks, asked.public()))
    if not is_well(checks):
        raise typer.Exit(1)
