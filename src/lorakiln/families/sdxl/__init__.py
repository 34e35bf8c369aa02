"""Stable Diffusion XL; see `families.kinds.FamilyKind`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.families.sd.original_names import network_origin
from lorakiln.families.sd.target_names import suggest_targets
from lorakiln.families.sdxl.keys import known, kohya_name, module_of
from lorakiln.families.sdxl.versions import LAYOUT as layout
from lorakiln.families.sdxl.versions import SDXL
from lorakiln.families.sdxl.versions import VERSIONS as versions

__all__ = ["known", "kohya_name", "layout", "module_of", "network_origin", "suggest_targets", "versions"]


def load(*given: Any) -> Any:
    from lorakiln.families.sdxl.model import load

    return load(*given)


def version_of(config: Mapping[str, Any], prediction: str) -> Any:
    return SDXL if config.get("addition_embed_type") == "text_time" else None


def recognise_file(checkpoint: Any) -> Any:
    from lorakiln.families.sd.file_contents import identify_version

    return identify_version(checkpoint, versions)


def recognise_folder(root: Path) -> bool | str:
    from lorakiln.families.sd.model_checks import check_layout

    return check_layout(root, layout)
