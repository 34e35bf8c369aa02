"""Stable Diffusion 1.x and 2.x; see `families.kinds.FamilyKind`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.families.sd.keys import known, kohya_name, module_of
from lorakiln.families.sd.original_names import network_origin
from lorakiln.families.sd.target_names import suggest_targets
from lorakiln.families.sd.versions import LAYOUT as layout
from lorakiln.families.sd.versions import SD1, SD1_V, SD2, SD2_V
from lorakiln.families.sd.versions import VERSIONS as versions

__all__ = ["known", "kohya_name", "layout", "module_of", "network_origin", "suggest_targets", "versions"]


def load(*given: Any) -> Any:
    from lorakiln.families.sd.model import load

    return load(*given)


def version_of(config: Mapping[str, Any], prediction: str) -> Any:
    if config.get("addition_embed_type"):
        return None
    v = prediction == "v_prediction"
    if config.get("use_linear_projection"):
        return SD2_V if v else SD2
    return SD1_V if v else SD1


def recognise_file(checkpoint: Any) -> Any:
    from lorakiln.families.sd.file_contents import identify_version

    return identify_version(checkpoint, versions)


def recognise_folder(root: Path) -> bool | str:
    from lorakiln.families.sd.model_checks import check_layout

    return check_layout(root, layout, others=("text_encoder_2",))
