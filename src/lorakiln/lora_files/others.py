"""Kinds of adapters that are no LoRA and cannot be written as one: recognised, and refused with the reason."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.numbered import is_numbered

_RESCALED = "it rescales the sum of base and change by the base's own norms, so that no LoRA does the same"
_ROTATED = "it multiplies the base's weights instead of adding to them"
_NORMS = "a LoRA changes the weights of linear layers and convolutions, and nothing else"
_PEFTS = "of these only LyCORIS' own files are read"
# (what a key ends in, what it is, why it is not read)
_ENDINGS = (
    (("dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.weight"), "DoRA", _RESCALED),
    (("on_input",), "IA3 (LyCORIS)", _ROTATED),
    (("oft_blocks", "oft_diag", "oft_R.weight", "oft_R", "oft_r"), "OFT", _ROTATED),
    (("w_norm", "b_norm"), "a change of norm layers (LyCORIS)", _NORMS),
    (("emb_params",), "a textual inversion, not a LoRA", "it is a word's embedding"),
)
_DOTTED = (
    (("hada_w1_a", "hada_w1_b"), "LoHa in peft's form", _PEFTS),
    (("lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a"), "LoKr in peft's form", _PEFTS),
    (("diff", "diff_b"), "full weight differences in another form than LyCORIS'", _PEFTS),
)
_FIX = "use it in the program that made it; docs/lora_files.md lists what is read"


def check_kinds(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UserError, which names the kind and says why, if any of a file's tensors belongs to such an adapter."""
    for key in tensors:
        if key.startswith("<") and key.endswith(">") and is_numbered(tensors):
            why = f"a word's embedding ({key})"
            raise UserError(f"it holds a textual inversion beside the LoRA: {why}", where=path, fix=_FIX)
        kohya = key.startswith("lora_")
        for endings, kind, why in _ENDINGS if kohya else _ENDINGS + _DOTTED:
            if any(key == ending or key.endswith("." + ending) for ending in endings):
                raise UserError(f"this is {kind}: {why} ({key})", where=path, fix=_FIX)
        if key.endswith(".diff_b") and bool(tensors[key].any()):
            why = f"a LoRA changes weights alone ({key})"
            raise UserError(f"it changes biases too: {why}", where=path, fix=_FIX)
        if key.endswith(".diff") and tensors[key].ndim == 1:
            raise UserError(f"it changes norm layers too: {_NORMS} ({key})", where=path, fix=_FIX)
