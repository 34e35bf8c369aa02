"""`lorakiln convert`: a LoRA in another program's form, or a base model as a file or a folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.cli.options import AllowPickle, BaseConfig, Out, Overwrite, Precision, WithoutEmbeddings, print_indented
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_adapted_parts

if TYPE_CHECKING:
    from lorakiln.tools.base_weights import BaseWeights

TRAINED = next(iter(list_adapted_parts()))


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
    """Write a LoRA in another program's form, what every layer does stays the same; words' embeddings in that of A1111
    and ComfyUI or of diffusers; or a base model as a single file (OUT ends in .safetensors) or as a folder in
    diffusers' layout."""
    from lorakiln.lora_files.embeddings import is_embedding
    from lorakiln.tools.base_weights import open_base
    from lorakiln.tools.convert_base import convert_base, is_base
    from lorakiln.tools.output_targets import check_base_target

    for_loras = {
        "--rank": rank,
        "--only": only,
        "--base": base,
        "--weights-only": weights_only or None,
        "--without-embeddings": without_embeddings or None,
        "--embeddings": embeddings,
    }
    base_model = is_base(file)
    if not base_model and is_embedding(file):
        others = {"--precision": precision, **for_loras, "--config": config, "--prediction": prediction}
        _check_left_out(others, "is for LoRAs and base models, and this file holds words' vectors alone")
        _convert_words(file, out, to or "kohya", overwrite)
        return
    if not base_model:
        known = open_base(base, config, allow_pickle) if base else None
        _convert_lora(
            file, out, to, precision, rank, only, known, weights_only, without_embeddings, embeddings, overwrite
        )
        return
    _check_left_out(
        {"--to": to, **for_loras}, "is for LoRA files, and this is a base model", ": OUT is a .safetensors or a folder"
    )
    dtype = check_base_target(out, precision, overwrite)
    made = convert_base(file, out, dtype, config=config, prediction_type=prediction, allow_pickle=allow_pickle)
    print(f"{file} -> {out}: {made}")


def _check_left_out(options: Mapping[str, object], what: str, why: str = "") -> None:
    for name, given in options.items():
        if given is not None:
            raise UserError(what, where=name, fix=f"leave it out{why}")


def _convert_words(file: Path, out: Path, to: str, overwrite: bool) -> None:
    from lorakiln.lora_files.embeddings import describe_form, read_embeddings, save_words
    from lorakiln.tools.output_targets import check_lora_target

    if to == "peft":
        raise UserError("has no form for words' vectors", where="--to", fix="known for them: kohya, diffusers")
    check_lora_target(out, to, None, overwrite)
    words = read_embeddings(file)
    tensors = save_words(words, out, to)
    print(f"{file} -> {out}: {', '.join(words)}, as {describe_form(tensors)}")


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
    from lorakiln.tools.convert_lora import convert_to_loras, select_part
    from lorakiln.tools.inspect_listing import format_kinds, format_left_out, format_losses
    from lorakiln.tools.output_targets import check_lora_target
    from lorakiln.tools.rank_reduction import Cut

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
    print(
        f"{file} ({found.form}) -> {out} ({to}): "
        f"{format_count(len(found.adapter.layers), 'layer')}{format_kinds(found.kinds)}"
    )
    if found.kinds or lost:
        print(format_losses(lost, max(layer.rank for layer in found.adapter.layers.values())))
    if found.left_out:
        print(f"  left out: {format_left_out(found.left_out)}")
    print_indented(told)
