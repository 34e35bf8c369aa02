"""`lorakiln regularise`: regularisation pictures for a dataset, drawn from the base."""

from pathlib import Path
from typing import Annotated

import typer

from lorakiln.cli.generate import DrawingPrecision
from lorakiln.cli.options import MODELS
from lorakiln.console.counts import format_count
from lorakiln.console.terminal_text import escape_line


def regularise(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="of the class that yours is one of: a dog")],
    out: Annotated[Path, typer.Option(help="a folder for the pictures: data/raw/NAME/reg/1_dog")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="so many in all")] = 100,
    model: Annotated[
        str | None, typer.Option(help=f"{', '.join(MODELS)} or a .yaml file [tiny, or what suits --base]")
    ] = None,
    base: Annotated[str | None, typer.Option(help="the base model: a folder, a file or a hub id")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the first; each other has the next")] = 0,
    steps: Annotated[int, typer.Option(min=1)] = 20,
    guidance: Annotated[float, typer.Option(min=0)] = 5.0,
    negative: Annotated[str, typer.Option(help="what the pictures should not show")] = "",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="pixels [the model's own]")] = None,
    precision: Annotated[DrawingPrecision, typer.Option(help="of the base [fp16 on a GPU, else fp32]")] = "auto",
) -> None:
    """Draw pictures of a class from the base alone, which training then keeps as they are (prior preservation). Given
    again, it draws what is missing."""
    from lorakiln.tools.draw_request import DrawRequest, parse_size
    from lorakiln.tools.model_settings import find_model_settings
    from lorakiln.tools.regularise import draw_regularisation

    request = DrawRequest(prompt, seed, steps=steps, guidance=guidance, negative=negative, size=parse_size(size))
    drawn = draw_regularisation(out, request, count, find_model_settings(model, base), precision)
    there = f", {count - drawn} were there" if drawn < count else ""
    print(f"{escape_line(str(out))}: {format_count(drawn, 'picture')} of {escape_line(prompt)!r} drawn{there}")
