"""The `lorakiln` command: what one does with LoRA files once they are there."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorakiln.console.errors import UserError, exit_on_user_error

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Inspect, convert, resize, merge, extract and try LoRA files.",
)  # fmt: skip

File = Annotated[Path, typer.Argument(metavar="FILE", help="a LoRA file")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="what to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace OUT if it is there")]
Precision = Annotated[str | None, typer.Option(metavar="fp32|fp16|bf16", help="of the stored weights [as they are]")]
FormOption = Annotated[str, typer.Option("--to", metavar="kohya|diffusers|peft", help="the form to write")]
Rank = Annotated[int, typer.Option(min=1, help="keep at most so many directions a layer")]


@app.command("inspect")
def inspect_command(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="everything, as JSON")] = False,
    all_layers: Annotated[bool, typer.Option("--layers", help="one line for every layer")] = False,
) -> None:
    """Say what a LoRA file is: form, base model, ranks, alphas, norms, metadata, settings to go on training with."""
    from lorakiln.tools.inspect import inspect
    from lorakiln.tools.listing import listing

    found = inspect(file)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else listing(found, all_layers))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a LoRA, or a base model's file or folder")],
    out: Out,
    to: Annotated[str | None, typer.Option(metavar="kohya|diffusers|peft", help="a LoRA's form [kohya]")] = None,
    precision: Precision = None,
    rank: Annotated[int | None, typer.Option(min=1, help="a LoRA's layers are cut to this, and the loss told")] = None,
    config: Annotated[str | None, typer.Option(help="base: a folder or hub id for configs and tokenizers")] = None,
    prediction: Annotated[str | None, typer.Option(metavar="epsilon|v_prediction", help="base: SD 2.x's")] = None,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="base: read a .ckpt, tensors alone")] = False,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Write a LoRA in another program's form, what every layer does stays the same; or a base model as a single file
    (OUT ends in .safetensors) or as a folder in diffusers' layout."""
    from lorakiln.tools.convert_base import convert_base, is_base

    if is_base(file):
        if to is not None:
            fix = "leave it out: OUT is a .safetensors or a folder"
            raise UserError("is for LoRA files, and this is a base model", where="--to", fix=fix)
        if rank is not None:
            raise UserError("is for LoRA files, and this is a base model", where="--rank", fix="leave it out")
        to_file = out.suffix.lower() == ".safetensors"
        dtype = _ready(out, "kohya" if to_file else "peft", precision, overwrite)[1]
        made = convert_base(
            file, out, dtype, config=config, prediction_type=prediction, allow_pickle=allow_pickle
        )  # fmt: skip
        print(f"{file} -> {out}: {made}")
        return
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.combine import as_loras
    from lorakiln.tools.listing import losses, made_of
    from lorakiln.tools.lowrank import Cut

    to = to or "kohya"
    ready = _ready(out, to, precision, overwrite)
    found, lost = as_loras(file, Cut(rank) if rank else None)
    write_lora(found.adapter, out, *ready)
    print(f"{file} ({found.form}) -> {out} ({to}): {len(found.adapter.layers)} layers{made_of(found.kinds)}")
    if found.kinds or lost:
        print(losses(lost, max(layer.rank for layer in found.adapter.layers.values())))


@app.command()
def resize(
    file: File, out: Out, rank: Rank,
    sv_ratio: Annotated[float | None, typer.Option(help="keep singular values above the largest / this")] = None,
    sv_fro: Annotated[float | None, typer.Option(help="keep this share of the Frobenius norm")] = None,
    sv_cumulative: Annotated[float | None, typer.Option(help="keep this share of the singular values' sum")] = None,
    to: FormOption = "kohya", precision: Precision = None, overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Cut a LoRA down to a lower rank, layer by layer, with the least loss (truncated SVD)."""
    from lorakiln.lora_files.reading import read_lora
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.combine import resized

    how = _cut(rank, sv_ratio=sv_ratio, sv_fro=sv_fro, sv_cumulative=sv_cumulative)
    ready = _ready(out, to, precision, overwrite)
    small, kept = resized(read_lora(file).adapter, how)
    write_lora(small, out, *ready)
    ranks = sorted(layer.rank for layer in small.layers.values())
    print(
        f"{file} -> {out}: ranks {ranks[0]} to {ranks[-1]}, "
        f"{min(kept.values()):.1%} to {max(kept.values()):.1%} of a layer's norm kept"
    )


@app.command("push")
def push_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="what export wrote, such as outputs/lora")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="on the Hugging Face Hub; made if absent")],
    public: Annotated[bool, typer.Option("--public", help="a new repository is seen by everyone")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be sent")] = False,
) -> None:
    """Send an exported LoRA with its model card and previews to the Hugging Face Hub."""
    from lorakiln.export.hub import plan_upload, push

    upload = plan_upload(folder, repository, public)
    print(upload)
    print("nothing was sent (--dry-run)" if dry_run else f"sent: {push(upload)}")


@app.command()
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE[:WEIGHT]...", help="LoRA files; weight 1 if none")],
    out: Annotated[Path, typer.Option(help="the LoRA, or with --into the model's folder, to write")],
    into: Annotated[Path | None, typer.Option(help="a base model's folder: merge into a copy of it")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="cut the merged LoRA down [the ranks add up]")] = None,
    to: FormOption = "kohya", precision: Precision = None, overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Make one LoRA of several, without loss, or merge them into a base model."""
    from lorakiln.lora_files.reading import read_lora
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.bake import bake
    from lorakiln.tools.combine import merged
    from lorakiln.tools.lowrank import Cut

    if into is not None:
        _free(out, overwrite, folder=True)
    ready = None if into else _ready(out, to, precision, overwrite)
    parts = [(read_lora(path).adapter, weight) for path, weight in map(_weighted, files)]
    if ready is None:
        print(f"{out}: {bake(into, parts, out)} weights of {into} changed")
        return
    result = merged(parts, Cut(rank) if rank else None)
    write_lora(result, out, *ready)
    print(f"{out}: {len(result.layers)} layers, rank up to {max(layer.rank for layer in result.layers.values())}")


@app.command()
def extract(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="the base model's folder, in diffusers' layout")],
    tuned: Annotated[Path, typer.Argument(metavar="TUNED", help="the folder of a model trained from it")],
    out: Out, rank: Rank,
    least: Annotated[float, typer.Option(help="leave out layers whose weights differ by less")] = 1e-4,
    to: FormOption = "kohya", precision: Precision = "fp16", overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Find the LoRA between a base model and one trained from it (truncated SVD of the difference)."""
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.combine import extracted
    from lorakiln.tools.lowrank import Cut

    ready = _ready(out, to, precision, overwrite)
    result = extracted(base, tuned, Cut(rank), least)
    write_lora(result, out, *ready)
    print(f"{out}: {len(result.layers)} layers of rank up to {rank}")


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="(words:1.3) weighs words, as in A1111")],
    out: Annotated[Path, typer.Option(help="a folder for the pictures")],
    model: Annotated[str, typer.Option(help="of conf/model, or a .yaml file")] = "tiny",
    base: Annotated[str | None, typer.Option(help="another base model: a folder or a hub id")] = None,
    lora: Annotated[list[str] | None, typer.Option(metavar="FILE[:WEIGHT]", help="may be given several times")] = None,
    seeds: Annotated[str, typer.Option(help="one picture of each prompt for each")] = "0",
    steps: Annotated[int, typer.Option(min=1)] = 20,
    guidance: Annotated[float, typer.Option(min=0)] = 5.0,
    negative: Annotated[str, typer.Option(help="what the pictures should not show")] = "",
    size: Annotated[str | None, typer.Option(metavar="WxH", help="pixels [the model's own]")] = None,
    image: Annotated[Path | None, typer.Option(help="begin with this picture: image to image")] = None,
    strength: Annotated[float, typer.Option(help="how much of it is drawn anew, in (0, 1]")] = 0.6,
    describe: Annotated[bool, typer.Option(help="PROMPT goes before what the captioner says of --image")] = False,
    clip_skip: Annotated[int, typer.Option(min=0, help="as the LoRA was trained with")] = 0,
    max_tokens: Annotated[int, typer.Option(metavar="75|150|225", help="of a prompt that are read")] = 75,
    rows: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="a grid's rows, such as seed=0,1")] = None,
    columns: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="and columns, such as weight=0,0.5,1")] = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Draw pictures with a base model and LoRAs, singly or as a grid over two of: prompt, seed, weight, steps,
    guidance, lora, strength."""
    from lorakiln.families.reading import CHUNK, Reading
    from lorakiln.tools.generate import Wish, described, model_settings, on_axis, save_sheet, save_wishes

    _free(out, overwrite, folder=True)
    if max_tokens not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError(f"{max_tokens} is not 75, 150 or 225", where="--max-tokens")
    settings = model_settings(model, base)
    if describe:
        if image is None:
            raise UserError("there is no picture to describe", where="--describe", fix="name one with --image")
        prompts = [described(image, prompt, settings) for prompt in prompts]
        print(f"prompt: {'; '.join(prompts)}", flush=True)
    wish = Wish(
        prompts[0], _seed(seeds.split(",")[0]), steps=steps, guidance=guidance, negative=negative, image=image,
        strength=strength, loras=tuple(map(_weighted, lora or [])), size=_sides(size),
        reading=Reading(clip_skip, max_tokens // CHUNK),
    )  # fmt: skip
    down, across = _axes(rows, columns, prompts, seeds.split(","))
    wishes = [on_axis(on_axis(wish, down[0], r), across[0], c) for r in down[1] for c in across[1]]
    files = save_wishes(wishes, settings, out)
    if len(files) > 1:
        labels = [
            [value if axis == "prompt" else f"{axis} {value}" for value in values] for axis, values in (down, across)
        ]
        save_sheet(files, *labels, " ".join(prompts) if down[0] != "prompt" else "", out / "grid.png")
    print(f"{out}: {len(files)} pictures{' and grid.png' if len(files) > 1 else ''}")


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


def _seed(text: str) -> int:
    if not text.strip().isdigit():
        raise UserError(f"{text!r} is no seed", where="--seeds", fix="write 0,1,2")
    return int(text)


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, listed = text.partition("=")
    if not equals or not listed:
        raise UserError(f"{text!r} is no axis", fix="write it like weight=0,0.5,1")
    return name, listed.split("|" if name == "prompt" else ",")


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UserError(f"{text!r} is no size", where="--size", fix="write it like 768x512")
    return int(width), int(height)


def _cut(rank: int, **methods: float | None):
    from lorakiln.tools.lowrank import Cut

    given = {name: value for name, value in methods.items() if value is not None}
    if len(given) > 1:
        options = " and ".join("--" + name.replace("_", "-") for name in given)
        raise UserError(f"{options} exclude each other", fix="give one")
    for name, value in given.items():
        if (name == "sv_ratio" and value <= 1) or (name != "sv_ratio" and not 0 < value <= 1):
            wanted = "above 1" if name == "sv_ratio" else "in (0, 1]"
            raise UserError(f"{value:g} is not {wanted}", where=f"--{name.replace('_', '-')}")
        return Cut(rank, name, value)
    return Cut(rank)


def _weighted(text: str) -> tuple[Path, float]:
    """ "style.safetensors:0.8" -> the file and 0.8; without a weight, 1."""
    path, _, weight = text.rpartition(":")
    if not path or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(path), float(weight)
    except ValueError as error:
        raise UserError(f"{weight!r} is no weight", where=text, fix="write FILE:0.8") from error


def _ready(out: Path, form: str, precision: str | None, overwrite: bool):
    """The form and dtype meant, once it is clear that `out` can be written."""
    import torch

    from lorakiln.lora_files.writing import FORMS, check_target

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if form not in FORMS:
        raise UserError(f"{form!r} is no form", where="--to", fix=f"known: {', '.join(FORMS)}")
    if precision is not None and precision not in dtypes:
        raise UserError(f"{precision!r} is no precision", where="--precision", fix=f"known: {', '.join(dtypes)}")
    check_target(out, form)
    _free(out, overwrite, form == "peft")
    return form, dtypes.get(precision)


def _free(out: Path, overwrite: bool, folder: bool) -> None:
    """Refuse a name where something is or cannot be; `folder`: a folder is to be written there, not a file."""
    above = next(path for path in out.absolute().parents if path.exists())
    if not above.is_dir():
        raise UserError(f"cannot be written: {above} is a file", where=out, fix="name another folder")
    if out.exists() and not overwrite:
        raise UserError("is there already", where=out, fix="give --overwrite, or another name")
    if out.exists() and out.is_dir() != folder:
        what = "a folder, and a file is to be written" if out.is_dir() else "a file, and a folder is to be written"
        raise UserError(f"is {what}", where=out, fix="give another name")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status: 0, 1 for a mistake that is the user's to mend, 2 for wrong usage."""

    def command() -> int:
        try:
            app(arguments, prog_name="lorakiln")
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 0
        return 0

    return exit_on_user_error(command)


def entry() -> None:
    sys.exit(main())
