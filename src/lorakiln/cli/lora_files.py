"""The commands of LoRA files as such: `inspect`, `resize`, `merge`, `extract`, `push`."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.cli.options import (
    AllowPickle,
    BaseConfig,
    File,
    Out,
    Overwrite,
    Precision,
    WithoutEmbeddings,
    print_indented,
)
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    from lorakiln.tools.rank_reduction import Cut, Method

FormOption = Annotated[str, typer.Option("--to", metavar="kohya|diffusers|peft", help="the form to write")]
Rank = Annotated[int, typer.Option(min=1, help="keep at most so many directions a layer")]


def inspect_command(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="everything, as JSON")] = False,
    all_layers: Annotated[bool, typer.Option("--layers", help="one line for every layer")] = False,
) -> None:
    """Say what a LoRA file is: form, base model, ranks, alphas, norms, metadata, settings to go on training with; and
    what a file of words' embeddings is."""
    from lorakiln.lora_files.embeddings import is_embedding
    from lorakiln.tools.inspect import inspect
    from lorakiln.tools.inspect_listing import format_listing
    from lorakiln.tools.inspect_words import format_words, inspect_words

    words = is_embedding(file)
    found = inspect_words(file) if words else inspect(file)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(format_words(found) if words else format_listing(found, all_layers))


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
    from lorakiln.tools.merge_loras import find_stored_dtype
    from lorakiln.tools.output_targets import check_lora_target
    from lorakiln.tools.resize import resize_lora

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
    print_indented(told)


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
    from lorakiln.tools.merge_into_base import merge_into_base
    from lorakiln.tools.merge_loras import find_stored_dtype, merge_loras
    from lorakiln.tools.output_targets import check_lora_target, check_merged_target
    from lorakiln.tools.rank_reduction import Cut
    from lorakiln.tools.weighted_file import parse_weighted

    chosen = [parse_weighted(text) for text in files]
    if into is not None:
        for name, value in (("--to", to), ("--rank", rank)):
            if value is not None:
                raise UserError(
                    "says how to write a LoRA, and --into writes a base model", where=name, fix="leave it out"
                )
        dtype = check_merged_target(out, into, precision, overwrite)
        parts = [(read_any(path).adapter, weight) for path, weight in chosen]
        for (path, _), (adapter, _) in zip(chosen, parts, strict=True):
            warn_unused({} if without_embeddings else adapter.embeddings, path)
        count = merge_into_base(into, parts, out, dtype, config=config, allow_pickle=allow_pickle)
        print(f"{out}: {count} weights of {into} changed")
        return
    form, dtype = check_lora_target(out, to or "kohya", precision, overwrite)
    parts = [(read_lora(path).adapter, weight) for path, weight in chosen]
    if without_embeddings:
        parts = [(replace(adapter, embeddings={}), weight) for adapter, weight in parts]
    result = merge_loras(parts, Cut(rank) if rank else None, out.stem)
    told = write_lora(result, out, form, dtype or find_stored_dtype(*(adapter for adapter, _ in parts)))
    print(
        f"{out}: {format_count(len(result.layers), 'layer')}, rank up to "
        f"{max(layer.rank for layer in result.layers.values())}"
    )
    print_indented(told)


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
    from lorakiln.tools.extract import extract_lora
    from lorakiln.tools.output_targets import check_lora_target
    from lorakiln.tools.rank_reduction import Cut

    ready = check_lora_target(out, to, precision, overwrite)
    before, after = (open_base(source, config, allow_pickle) for source in (base, tuned))
    result = extract_lora(before, after, Cut(rank), least, out.stem)
    told = write_lora(result, out, *ready)
    print(f"{out}: {format_count(len(result.layers), 'layer')} of rank up to {rank}")
    print_indented(told)


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


def _cut(rank: int, sv_ratio: float | None, sv_fro: float | None, sv_cumulative: float | None) -> "Cut":
    from lorakiln.tools.rank_reduction import Cut

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
