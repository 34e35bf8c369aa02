"""`lorakiln generate`: pictures with a base model and LoRAs, singly or as a grid."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lorakiln.cli.options import MODELS, Overwrite
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError

DrawingPrecision = Literal["auto", "fp32", "bf16", "fp16"]


def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="(words:1.3) weighs words, as in A1111")],
    out: Annotated[Path, typer.Option(help="a folder for the pictures")],
    model: Annotated[
        str | None, typer.Option(help=f"{', '.join(MODELS)} or a .yaml file [tiny, or what suits --base]")
    ] = None,
    base: Annotated[str | None, typer.Option(help="the base model: a folder, a file or a hub id")] = None,
    lora: Annotated[list[str] | None, typer.Option(metavar="FILE[:WEIGHT]", help="may be given several times")] = None,
    embedding: Annotated[
        list[str] | None, typer.Option(metavar="FILE[=WORD]", help="a textual inversion, by its own name or by WORD")
    ] = None,
    seeds: Annotated[str, typer.Option(help="one picture of each prompt for each")] = "0",
    steps: Annotated[int, typer.Option(min=1)] = 20,
    guidance: Annotated[float, typer.Option(min=0)] = 5.0,
    negative: Annotated[str, typer.Option(help="what the pictures should not show")] = "",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="pixels [the model's own]")] = None,
    image: Annotated[Path | None, typer.Option(help="begin with this picture: image to image")] = None,
    strength: Annotated[float, typer.Option(help="how much of it is drawn anew, in (0, 1]")] = 0.6,
    describe: Annotated[bool, typer.Option(help="PROMPT goes before what the captioner says of --image")] = False,
    clip_skip: Annotated[
        int | None, typer.Option(min=1, help="1: no layer is skipped [as the LoRA was trained with, else 1]")
    ] = None,
    max_tokens: Annotated[int, typer.Option(metavar="75|150|225", help="of a prompt that are read")] = 75,
    precision: Annotated[DrawingPrecision, typer.Option(help="of the base [fp16 on a GPU, else fp32]")] = "auto",
    rows: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="a grid's rows, such as seed=0,1")] = None,
    columns: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="and columns, such as weight=0,0.5,1")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw pictures with a base model and LoRAs, singly or as a grid over two of: prompt, seed, weight, steps,
    guidance, strength, lora or checkpoint (FILE[:WEIGHT], in the place of --lora)."""
    from lorakiln.families.prompt_encoding import CHUNK, PromptEncoding
    from lorakiln.tools.draw_request import (
        DrawRequest,
        apply_axis,
        choose_clip_skip,
        format_label,
        parse_seed,
        parse_size,
    )
    from lorakiln.tools.generate import describe_picture, save_requests, save_sheet
    from lorakiln.tools.model_settings import find_model_settings
    from lorakiln.tools.output_targets import check_free
    from lorakiln.tools.weighted_file import parse_named, parse_weighted

    check_free(out, overwrite, folder=True)
    if max_tokens not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError(f"{max_tokens} is not 75, 150 or 225", where="--max-tokens")
    settings = find_model_settings(model, base)
    if describe:
        if image is None:
            raise UserError("there is no picture to describe", where="--describe", fix="name one with --image")
        prompts = [describe_picture(image, prompt, settings) for prompt in prompts]
        print(f"prompt: {'; '.join(prompts)}", flush=True)
    loras = tuple(map(parse_weighted, lora or []))
    request = DrawRequest(
        prompts[0],
        parse_seed(seeds.split(",")[0]),
        steps=steps,
        guidance=guidance,
        negative=negative,
        image=image,
        strength=strength,
        loras=loras,
        size=parse_size(size),
        encoding=PromptEncoding(choose_clip_skip(clip_skip, loras), max_tokens // CHUNK),
    )
    down, across = _axes(rows, columns, prompts, seeds.split(","))
    requests = [apply_axis(apply_axis(request, down[0], r), across[0], c) for r in down[1] for c in across[1]]
    files = save_requests(requests, settings, out, precision, dict(map(parse_named, embedding or [])))
    if len(files) > 1:
        beside, above = ([format_label(axis, value) for value in values] for axis, values in (down, across))
        save_sheet(files, beside, above, " ".join(prompts) if down[0] != "prompt" else "", out / "grid.png")
    print(f"{out}: {format_count(len(files), 'picture')}{' and grid.png' if len(files) > 1 else ''}")


def _axes(
    rows: str | None, columns: str | None, prompts: list[str], seeds: list[str]
) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """What goes down and what goes across; prompts and seeds where nothing is said."""
    down, across = (None if text is None else _axis(text) for text in (rows, columns))
    taken = {axis[0] for axis in (down, across) if axis}
    spare = [axis for axis in (("prompt", prompts), ("seed", seeds)) if axis[0] not in taken]
    down = down or spare.pop(0)
    across = across or spare.pop(-1)
    if lost := [f"--{name}s" if name == "seed" else "PROMPT" for name, values in spare if len(values) > 1]:
        fix = "give one, or make it an axis, such as --rows seed=0,1"
        raise UserError("several are given, but rows and columns are other things", where=lost[0], fix=fix)
    if down[0] == across[0]:
        raise UserError(f"rows and columns are both {down[0]}", where="--columns", fix="take two different axes")
    return down, across


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, listed = text.partition("=")
    if not equals or not listed:
        raise UserError(f"{text!r} is no axis", fix="write it like weight=0,0.5,1")
    return name, listed.split("|" if name == "prompt" else ",")
