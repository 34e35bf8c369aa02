"""What a LoRA that was made of others, or of two checkpoints, says of itself: in export's keys where known."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.adapters.lora import MODULE as LORA
from lorakiln.families.kinds import guess_version, list_versions
from lorakiln.families.shapes import has_kernel
from lorakiln.lora_files.base_model import find_generation

V = "v_prediction"


def make_rank_keys(layers: Mapping[str, Layer], args: str = "{}") -> dict[str, str]:
    """kohya's keys for ranks: of linear layers and 1x1 convolutions, and in ss_network_args of larger convolutions.

    Every alpha here is its layer's rank. Ranks that differ are told by the largest.

    Args:
        args: the ss_network_args so far, JSON.
    """
    wide = [layer.rank for layer in layers.values() if has_kernel(layer.shape)]
    small = [layer.rank for layer in layers.values() if not has_kernel(layer.shape)] or wide
    found = {"ss_network_dim": str(max(small)), "ss_network_alpha": str(float(max(small)))}
    if wide:
        conv = {"conv_dim": str(max(wide)), "conv_alpha": str(float(max(wide)))}
        found["ss_network_args"] = json.dumps({**_object(args), **conv}, sort_keys=True)
    return found


def make_metadata(
    adapter: Adapter, title: str, version: str = "", prediction: str = "", resolution: str = ""
) -> dict[str, str]:
    """The ss_* and modelspec.* keys of a new LoRA, hashes left out.

    Args:
        title: its name.
        version: ss_base_model_version, if it is known from elsewhere; the layers may say it, and another.
        prediction: "epsilon" or "v_prediction", likewise.
        resolution: of the training pictures, "WxH"; else the base's own.
    """
    found = find_generation(replace(adapter, metadata={"ss_base_model_version": version}))
    if found and not version.startswith(found.kohya_stem):
        version = found.kohya
    data: dict[str, Any] = {
        "ss_network_module": LORA,
        "ss_output_name": title,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": title,
        **make_rank_keys(adapter.layers),
    }
    # Other editions have names of their own: they are told as the one that is known.
    known = next((one for one in list_versions() if one.kohya == version), guess_version(version))
    if version:
        data |= {"ss_base_model_version": version, "ss_v2": str(known is not None and known.is_v2)}
        v = version.endswith("_v") or prediction == V
        data["modelspec.prediction_type"] = "v" if v else "epsilon"
    if known:
        data["modelspec.architecture"] = f"{known.modelspec}/lora"
        data["modelspec.implementation"] = known.implementation
        # What sd-scripts writes where nothing else is said; the standard demands the key.
        resolution = resolution or f"{known.resolution}x{known.resolution}"
    if resolution:
        data["modelspec.resolution"] = resolution
    return data


def read_inherited(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Version and prediction as a LoRA file's metadata says them; empty where it does not."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    return metadata.get("ss_base_model_version", ""), V if said.startswith("v") else said and "epsilon"


def find_resolution(*said: Mapping[str, str]) -> str:
    """The first of these files' metadata that says a resolution, as "WxH"; empty if none does."""
    for metadata in said:
        for key in ("modelspec.resolution", "ss_resolution"):  # "768x512", "(768, 512)"
            if sides := re.fullmatch(r"\(?(\d+)\s*[x,]\s*(\d+)\)?", metadata.get(key, "").strip().lower()):
                return f"{sides[1]}x{sides[2]}"
    return ""


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def make_resized_metadata(adapter: Adapter) -> dict[str, str]:
    """The metadata of what is now a LoRA of other ranks: what it says of another kind of layer goes."""
    known = drop_hashes(adapter.metadata)
    args = known.get("ss_network_args", "{}") if known.get("ss_network_module", LORA) == LORA else "{}"
    return known | {"ss_network_module": LORA, "ss_network_args": args} | make_rank_keys(adapter.layers, args)


def drop_hashes(metadata: dict[str, str]) -> dict[str, str]:
    """Without the hashes (sshs_...) of the tensors, which are others now."""
    return {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
