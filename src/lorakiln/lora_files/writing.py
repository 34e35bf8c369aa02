"""Write an Adapter in any of the forms that other programs load, without the base model at hand."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_json
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.model_source import PICKLES
from lorakiln.lora_files import diffusers_form, kohya_form, kohya_metadata
from lorakiln.lora_files.base_model import find_generation, find_lora_family
from lorakiln.lora_files.casting import cast_adapter, has_one_rank
from lorakiln.lora_files.file_layers import PEFT

Form = Literal["kohya", "diffusers", "peft"]
FORMS: tuple[Form, ...] = ("kohya", "diffusers", "peft")


def write_lora(adapter: Adapter, path: Path, form: Form, dtype: torch.dtype | None = None) -> list[str]:
    """Write `adapter` with its own metadata; kohya's hashes are taken anew.

    diffusers' form is folded, alpha = rank in every layer: programs that read it differ in where they look for alphas.

    Args:
        path: a file; for `peft` a folder, which gets adapter_model.safetensors and adapter_config.json.
        dtype: of the stored weights; None: as they are.

    Returns:
        what a user should know of it, in lines.

    Raises:
        UserError: the name's ending is another format's, a weight is not finite in `dtype`, or the disk is full.
    """
    check_target(path, form)
    if form != "kohya" and adapter.embeddings:
        words = ", ".join(adapter.embeddings)
        raise UserError(
            f"a file for {form} has no place for its embeddings of {words}",
            where=path,
            fix="leave them out, --without-embeddings, or as files of their own: convert with --embeddings FOLDER",
        )
    adapter = replace(adapter, metadata=_own(adapter.metadata) | _base(adapter))
    ready = cast_adapter(adapter, dtype, path, fold=form == "diffusers")
    if form == "kohya":
        tensors = kohya_form.make_tensors(ready.adapter, find_lora_family(adapter).kohya_name)
        metadata = kohya_metadata.add_hashes(adapter.metadata, tensors)
        save_tensors(path, tensors, metadata)
    elif form == "diffusers":
        diffusers_form.save(ready.adapter, path)
    else:
        write_peft(ready.adapter, path)
    told = [str(ready)] if ready.lost else []
    if form == "diffusers" and not has_one_rank(adapter):
        rank = max(layer.rank for layer in ready.adapter.layers.values())
        told.append(f"ranks differ, and are filled up with zeros (to {rank} at most), as some readers know one alone")
    return told


def check_target(path: Path, form: Form) -> None:
    """Refuse a name that promises another format; raises UserError."""
    ending = path.suffix.lower()
    if ending in PICKLES:
        fix = "name it .safetensors"
        raise UserError(f"{ending} is a pickle, which can run code when it is read: none are written", fix=fix)
    if form != "peft" and ending != ".safetensors":
        raise UserError("the file's name must end in .safetensors", where=path, fix="name it so")


def _own(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without what was taken over another file's bytes, or is written anew."""
    stale = ("sshs_", "modelspec.hash_sha256", "format", diffusers_form.METADATA)
    return {key: value for key, value in metadata.items() if not key.startswith(stale)}


def _base(adapter: Adapter) -> dict[str, str]:
    """Which base it is for, where the metadata does not say it, or another than the layers' shapes.

    One that kohya's names show is added: other forms have not these names.
    """
    version, said = find_generation(adapter), adapter.metadata.get("ss_base_model_version", "")
    if version is None or said.startswith(version.kohya_stem) or not (said or version.told_by_names):
        return {}
    architecture = {"modelspec.architecture": f"{version.modelspec}/lora"}
    return {"ss_base_model_version": version.kohya} | (
        architecture if "modelspec.architecture" in adapter.metadata else {}
    )


def write_peft(adapter: Adapter, folder: Path, kind: str = "lora") -> None:
    """Write a folder that peft loads onto one network: adapter_model.safetensors and adapter_config.json.

    Args:
        kind: of its layers, one that peft has.

    Raises:
        UserError: it adapts several networks, or the disk is full.
    """
    own = find_trained_kind(kind)
    parts = sorted({name.split(".")[0] for name in adapter.layers})
    if len(parts) != 1:
        fix = "convert to diffusers' form, which holds several"
        raise UserError(f"a peft folder holds one network, this LoRA has {' and '.join(parts)}", fix=fix)
    part = parts[0]
    tensors: dict[str, Tensor] = {}
    for name, layer in adapter.layers.items():
        stem = PEFT + name.removeprefix(f"{part}.")
        tensors |= {f"{stem}.{ending}": tensor for ending, tensor in own.tensors(layer, "dotted").items()}
    with replacing(folder) as fresh:
        save_tensors(fresh / "adapter_model.safetensors", tensors, {**adapter.metadata, "format": "pt"})
        config = diffusers_form.make_part_config(adapter, part, kind) | {
            "auto_mapping": diffusers_form.list_peft_classes()[part]
        }
        write_json(fresh / "adapter_config.json", config)
