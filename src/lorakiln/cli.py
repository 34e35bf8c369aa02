"""The `lorakiln` command: what one does with LoRA files once they are there, and a look at the machine."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.console.terminal_text import escape_text
from lorakiln.families.kinds import list_adapted_parts, list_generations, list_versions

if TYPE_CHECKING:
    from lorakiln.tools.base_weights import BaseWeights
    from lorakiln.tools.lowrank import Cut, Method

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Inspect, convert, resize, merge, extract and try LoRA files; examine the machine (doctor).",
)

if TYPE_CHECKING:
    RandomBase = str
else:  # of the families that there are
    RandomBase = Literal[tuple(list_generations())]
File = Annotated[Path, typer.Argument(metavar="FILE", help="a LoRA file")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="what to write")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace OUT if it is there")]
DrawingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
TRAINED = next(iter(list_adapted_parts()))
MODELS = [version.model for version in list_versions() if version.model]
Precision = Annotated[str | None, typer.Option(metavar="fp32|fp16|bf16", help="of the stored weights [as they are]")]
FormOption = Annotated[str, typer.Option("--to", metavar="kohya|diffusers|peft", help="the form to write")]
BaseConfig = Annotated[str | None, typer.Option("--config", help="base: a folder or hub id for configs and tokenizers")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="base: read a .ckpt, tensors alone")]
WithoutEmbeddings = Annotated[
    bool, typer.Option("--without-embeddings", help="leave out words' embeddings that the file brings along")
]
Rank = Annotated[int, typer.Option(min=1, help="keep at most so many directions a layer")]


@app.command("inspect")
def inspect_command(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="everything, as JSON")] = False,
    all_layers: Annotated[bool, typer.Option("--layers", help="one line for every layer")] = False,
) -> None:
    """Say what a LoRA file is: form, base model, ranks, alphas, norms, metadata, settings to go on training with."""
    from lorakiln.tools.inspect import inspect
    from lorakiln.tools.listing import format_listing

    found = inspect(file)
    print(json.dumps(found, indent=2) if as_json else format_listing(found, all_layers))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a LoRA, or a base model's file or folder")],
    out: Out,
    to: Annotated[str | None, typer.Option(metavar="kohya|diffusers|peft", help="a LoRA's form [kohya]")] = None,
    precision: Precision = None,
    rank: Annotated[int | None, typer.Option(min=1, help="a LoRA's layers are cut to this, and the loss told")] = None,
    only: Annotated[str | None, typer.Option(metavar="PART", help=f"a LoRA's: {TRAINED}, text_encoder, ...")] = None,
    base: Annotated[
        Path | None, typer.Option(help="a LoRA's base model, folder or file: DoRA, OFT, BOFT and IA3 need it")
    ] = None,
    weights_only: Annotated[
        bool, typer.Option("--weights-only", help="a LoRA's: leave out what it changes of biases and norms")
    ] = False,
    without_embeddings: WithoutEmbeddings = False,
    embeddings: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="a LoRA's: words' embeddings as files of their own")
    ] = None,
    config: BaseConfig = None,
    prediction: Annotated[str | None, typer.Option(metavar="epsilon|v_prediction", help="base: SD 2.x's")] = None,
    allow_pickle: AllowPickle = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a LoRA in another program's form, what every layer does stays the same; or a base model as a single file
    (OUT ends in .safetensors) or as a folder in diffusers' layout."""
    from lorakiln.tools.base_weights import open_base
    from lorakiln.tools.convert_base import convert_base, is_base
    from lorakiln.tools.output_targets import check_base_target

    if not is_base(file):
        known = open_base(base, config, allow_pickle) if base else None
        _convert_lora(
            file, out, to, precision, rank, only, known, weights_only, without_embeddings, embeddings, overwrite
        )
        return
    for_loras = {
        "--to": to,
        "--rank": rank,
        "--only": only,
        "--base": base,
        "--weights-only": weights_only or None,
        "--without-embeddings": without_embeddings or None,
        "--embeddings": embeddings,
    }
    for name, given in for_loras.items():
        if given is not None:
            fix = "leave it out: OUT is a .safetensors or a folder"
            raise UserError("is for LoRA files, and this is a base model", where=name, fix=fix)
    dtype = check_base_target(out, precision, overwrite)
    made = convert_base(file, out, dtype, config=config, prediction_type=prediction, allow_pickle=allow_pickle)
    print(f"{file} -> {out}: {made}")


def _convert_lora(
    file: Path,
    out: Path,
    to: str | None,
    precision: str | None,
    rank: int | None,
    only: str | None,
    base: "BaseWeights | None",
    weights_only: bool,
    without_embeddings: bool,
    embeddings: Path | None,
    overwrite: bool,
) -> None:
    from lorakiln.lora_files.embeddings import write_embeddings
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.combine import convert_to_loras, select_part
    from lorakiln.tools.listing import format_kinds, format_left_out, format_losses
    from lorakiln.tools.lowrank import Cut
    from lorakiln.tools.output_targets import check_lora_target

    to = to or "kohya"
    ready = check_lora_target(out, to, precision, overwrite)
    found, lost = convert_to_loras(file, Cut(rank) if rank else None, base, weights_only, only)
    brought = found.adapter.embeddings
    if without_embeddings or embeddings:
        found = replace(found, adapter=replace(found.adapter, embeddings={}))
    if only:
        found = replace(found, adapter=select_part(found.adapter, only))
    written = write_embeddings(brought.values(), embeddings, overwrite) if embeddings else []
    told = [*write_lora(found.adapter, out, *ready), *(f"embedding: {path}" for path in written)]
    if without_embeddings and brought and not embeddings:
        told.append(f"left out: the embeddings of {', '.join(brought)}")
    print(f"{file} ({found.form}) -> {out} ({to}): {len(found.adapter.layers)} layers{format_kinds(found.kinds)}")
    if found.kinds or lost:
        print(format_losses(lost, max(layer.rank for layer in found.adapter.layers.values())))
    if found.left_out:
        print(f"  left out: {format_left_out(found.left_out)}")
    _tell(told)


@app.command()
def resize(
    file: File,
    out: Out,
    rank: Rank,
    sv_ratio: Annotated[float | None, typer.Option(help="keep singular values above the largest / this")] = None,
    sv_fro: Annotated[float | None, typer.Option(help="keep this share of the Frobenius norm")] = None,
    sv_cumulative: Annotated[float | None, typer.Option(help="keep this share of the singular values' sum")] = None,
    to: FormOption = "kohya",
    precision: Precision = None,
    without_embeddings: WithoutEmbeddings = False,
    overwrite: Overwrite = False,
) -> None:
    """Cut a LoRA down to a lower rank, layer by layer, with the least loss (truncated SVD)."""
    from lorakiln.lora_files.reading import read_lora
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.combine import find_stored_dtype, resize_lora
    from lorakiln.tools.output_targets import check_lora_target

    how = _cut(rank, sv_ratio=sv_ratio, sv_fro=sv_fro, sv_cumulative=sv_cumulative)
    form, dtype = check_lora_target(out, to, precision, overwrite)
    adapter = read_lora(file).adapter
    small, kept = resize_lora(replace(adapter, embeddings={}) if without_embeddings else adapter, how)
    told = write_lora(small, out, form, dtype or find_stored_dtype(adapter))
    ranks = sorted(layer.rank for layer in small.layers.values())
    print(
        f"{file} -> {out}: ranks {ranks[0]} to {ranks[-1]}, "
        f"{min(kept.values()):.1%} to {max(kept.values()):.1%} of a layer's norm kept"
    )
    _tell(told)


@app.command("push")
def push_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="what export wrote, such as outputs/lora")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="on the Hugging Face Hub; made if absent")],
    public: Annotated[bool, typer.Option("--public", help="a new repository is seen by everyone")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be sent")] = False,
) -> None:
    """Send an exported LoRA with its model card and previews to the Hugging Face Hub."""
    from lorakiln.export.hub import check_card, plan_upload, push

    upload = plan_upload(folder, repository, public)
    print(upload, flush=True)
    check_card(folder)
    print("nothing was sent (--dry-run)" if dry_run else f"sent: {push(upload)}")


@app.command()
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE[:WEIGHT]...", help="LoRA files; weight 1 if none")],
    out: Annotated[Path, typer.Option(help="the LoRA, or with --into the model's folder, to write")],
    into: Annotated[Path | None, typer.Option(help="a base model's folder or file: merge into a copy of it")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="cut the merged LoRA down [the ranks add up]")] = None,
    to: Annotated[str | None, typer.Option(metavar="kohya|diffusers|peft", help="the LoRA's form [kohya]")] = None,
    precision: Precision = None,
    without_embeddings: WithoutEmbeddings = False,
    config: BaseConfig = None,
    allow_pickle: AllowPickle = False,
    overwrite: Overwrite = False,
) -> None:
    """Make one LoRA of several, without loss, or merge them into a base model."""
    from lorakiln.lora_files.embeddings import warn_unused
    from lorakiln.lora_files.reading import read_any, read_lora
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.bake import bake
    from lorakiln.tools.combine import find_stored_dtype, merge_loras
    from lorakiln.tools.lowrank import Cut
    from lorakiln.tools.output_targets import check_baked_target, check_lora_target
    from lorakiln.tools.weighted_file import parse_weighted

    chosen = [parse_weighted(text) for text in files]
    if into is not None:
        for name, value in (("--to", to), ("--rank", rank)):
            if value is not None:
                raise UserError(
                    "says how to write a LoRA, and --into writes a base model", where=name, fix="leave it out"
                )
        dtype = check_baked_target(out, into, precision, overwrite)
        parts = [(read_any(path).adapter, weight) for path, weight in chosen]
        for (path, _), (adapter, _) in zip(chosen, parts, strict=True):
            warn_unused({} if without_embeddings else adapter.embeddings, path)
        count = bake(into, parts, out, dtype, config=config, allow_pickle=allow_pickle)
        print(f"{out}: {count} weights of {into} changed")
        return
    form, dtype = check_lora_target(out, to or "kohya", precision, overwrite)
    parts = [(read_lora(path).adapter, weight) for path, weight in chosen]
    if without_embeddings:
        parts = [(replace(adapter, embeddings={}), weight) for adapter, weight in parts]
    result = merge_loras(parts, Cut(rank) if rank else None, out.stem)
    told = write_lora(result, out, form, dtype or find_stored_dtype(*(adapter for adapter, _ in parts)))
    print(f"{out}: {len(result.layers)} layers, rank up to {max(layer.rank for layer in result.layers.values())}")
    _tell(told)


@app.command()
def extract(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="the base model, folder or file")],
    tuned: Annotated[Path, typer.Argument(metavar="TUNED", help="a model trained from it, folder or file")],
    out: Out,
    rank: Rank,
    least: Annotated[float, typer.Option(help="leave out layers whose weights differ by less")] = 1e-4,
    to: FormOption = "kohya",
    precision: Precision = "fp16",
    config: BaseConfig = None,
    allow_pickle: AllowPickle = False,
    overwrite: Overwrite = False,
) -> None:
    """Find the LoRA between a base model and one trained from it (truncated SVD of the difference)."""
    from lorakiln.lora_files.writing import write_lora
    from lorakiln.tools.base_weights import open_base
    from lorakiln.tools.combine import extract_lora
    from lorakiln.tools.lowrank import Cut
    from lorakiln.tools.output_targets import check_lora_target

    ready = check_lora_target(out, to, precision, overwrite)
    before, after = (open_base(source, config, allow_pickle) for source in (base, tuned))
    result = extract_lora(before, after, Cut(rank), least, out.stem)
    told = write_lora(result, out, *ready)
    print(f"{out}: {len(result.layers)} layers of rank up to {rank}")
    _tell(told)


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="(words:1.3) weighs words, as in A1111")],
    out: Annotated[Path, typer.Option(help="a folder for the pictures")],
    model: Annotated[
        str | None, typer.Option(help=f"{', '.join(MODELS)} or a .yaml file [tiny, or what suits --base]")
    ] = None,
    base: Annotated[str | None, typer.Option(help="the base model: a folder, a file or a hub id")] = None,
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
    precision: Annotated[DrawingPrecision, typer.Option(help="of the base [fp16 on a GPU, else fp32]")] = "auto",
    rows: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="a grid's rows, such as seed=0,1")] = None,
    columns: Annotated[str | None, typer.Option(metavar="AXIS=A,B", help="and columns, such as weight=0,0.5,1")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw pictures with a base model and LoRAs, singly or as a grid over two of: prompt, seed, weight, steps,
    guidance, strength, lora or checkpoint (FILE[:WEIGHT], in the place of --lora)."""
    from lorakiln.families.prompt_encoding import CHUNK, PromptEncoding
    from lorakiln.tools.draw_request import DrawRequest, apply_axis, format_label, parse_seed, parse_size
    from lorakiln.tools.generate import describe_picture, save_requests, save_sheet
    from lorakiln.tools.model import find_model_settings
    from lorakiln.tools.output_targets import check_free
    from lorakiln.tools.weighted_file import parse_weighted

    check_free(out, overwrite, folder=True)
    if max_tokens not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError(f"{max_tokens} is not 75, 150 or 225", where="--max-tokens")
    settings = find_model_settings(model, base)
    if describe:
        if image is None:
            raise UserError("there is no picture to describe", where="--describe", fix="name one with --image")
        prompts = [describe_picture(image, prompt, settings) for prompt in prompts]
        print(f"prompt: {'; '.join(prompts)}", flush=True)
    request = DrawRequest(
        prompts[0],
        parse_seed(seeds.split(",")[0]),
        steps=steps,
        guidance=guidance,
        negative=negative,
        image=image,
        strength=strength,
        loras=tuple(map(parse_weighted, lora or [])),
        size=parse_size(size),
        encoding=PromptEncoding(clip_skip, max_tokens // CHUNK),
    )
    down, across = _axes(rows, columns, prompts, seeds.split(","))
    requests = [apply_axis(apply_axis(request, down[0], r), across[0], c) for r in down[1] for c in across[1]]
    files = save_requests(requests, settings, out, precision)
    if len(files) > 1:
        beside, above = ([format_label(axis, value) for value in values] for axis, values in (down, across))
        save_sheet(files, beside, above, " ".join(prompts) if down[0] != "prompt" else "", out / "grid.png")
    print(f"{out}: {len(files)} pictures{' and grid.png' if len(files) > 1 else ''}")


@app.command()
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


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(escape_text(f"  {line}"))


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


def _cut(rank: int, sv_ratio: float | None, sv_fro: float | None, sv_cumulative: float | None) -> "Cut":
    from lorakiln.tools.lowrank import Cut

    methods: dict[Method, float | None] = {"sv_ratio": sv_ratio, "sv_fro": sv_fro, "sv_cumulative": sv_cumulative}
    given = {name: value for name, value in methods.items() if value is not None}
    if len(given) > 1:
        options = " and ".join("--" + name.replace("_", "-") for name in given)
        raise UserError(f"{options} exclude each other", fix="give one")
    for name, value in given.items():
        if (name == "sv_ratio" and not 1 < value < math.inf) or (name != "sv_ratio" and not 0 < value <= 1):
            wanted = "above 1" if name == "sv_ratio" else "in (0, 1]"
            raise UserError(f"{value:g} is not {wanted}", where=f"--{name.replace('_', '-')}")
        return Cut(rank, name, value)
    return Cut(rank)


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
