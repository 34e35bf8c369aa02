"""cloneofsimo/lora's files: "unet:0:up", "unet:0:down", "text_encoder:0:up", ..., numbered and not named.

Its metadata has, for each network, the JSON list of the classes whose linear layers are adapted; they are numbered in
the order of `named_modules`, which is that in which the networks' code makes them. That order is known:

    UNet (CrossAttention or Attention, GEGLU): the down blocks, then the up blocks and the middle one in either order;
        in a transformer block attn1, attn2 and the feed-forward's GEGLU, or the GEGLU between the two, as the first
        diffusers has it; in an attention to_q, to_k, to_v, to_out
    text encoder (CLIPAttention): layer by layer k_proj, v_proj, q_proj, out_proj

The two orders that have changed tell themselves by the widths of the layers: a file is read if its shapes fit exactly
one of them. The weight's change is up @ down, so that alpha is the rank.
Sources: cloneofsimo/lora, lora_diffusion/lora.py (save_safeloras, _find_modules); diffusers, attention.py and
unet_2d_condition.py; transformers, modeling_clip.py.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

from torch import Tensor

from lorakiln.adapters.peft_config import read_config
from lorakiln.console.errors import UserError

KEY = re.compile(r"(unet|text_encoder):(\d{1,4}):(up|down)")
FIX = "convert it with the program that made it, by cloneofsimo/lora's own scripts"
_ATTENTIONS = {"CrossAttention", "Attention"}
_TEXT_WIDTHS = (768, 1024)  # of what the cross-attention reads, Stable Diffusion 1.x and 2.x
_Module = tuple[str, int, int]  # name, out, in


def is_numbered(tensors: Mapping[str, Tensor]) -> bool:
    return any(KEY.fullmatch(key) for key in tensors)


def map_modules(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> dict[str, str]:
    """The canonical module by the beginning of its keys: "unet:0" -> "unet.down_blocks.0....attn1.to_q".

    Raises:
        UserError: the order of the layers is not certain, or they are another network's.
    """
    found: dict[str, str] = {}
    for part, orders in (("unet", _unet_orders), ("text_encoder", _text_orders)):
        numbers = sorted({int(match[2]) for key in tensors if (match := KEY.fullmatch(key)) and match[1] == part})
        if not numbers:
            continue
        shapes = [_shape(tensors, f"{part}:{number}") for number in range(len(numbers))]
        fitting = [order for order in orders(_classes(metadata, part, path), shapes) if _fits(order, shapes)]
        if len(fitting) != 1 or numbers[-1] != len(numbers) - 1:
            what = f"its {len(numbers)} numbered layers of the {part} fit no order of Stable Diffusion 1.x's or 2.x's"
            raise UserError(f"{what}, and nothing else names them", where=path, fix=FIX)
        found |= {f"{part}:{number}": f"{part}.{one[0]}" for number, one in enumerate(fitting[0])}
    return found


def _classes(metadata: Mapping[str, str], part: str, path: Path) -> set[str]:
    """The classes that are adapted, by the metadata."""
    listed = read_config(f'{{"classes": {metadata.get(part) or "null"}}}', path)["classes"]
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        what = f"its metadata does not say which classes of the {part} its numbered layers are in"
        raise UserError(what, where=path, fix=FIX)
    return set(listed)


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, int] | None:
    """(out, in) of a layer; None where it is no linear layer's."""
    up, down = tensors.get(f"{name}:up"), tensors.get(f"{name}:down")
    return (up.shape[0], down.shape[1]) if up is not None and down is not None and up.ndim == down.ndim == 2 else None


def _fits(order: list[_Module], shapes: list[tuple[int, int] | None]) -> bool:
    return len(order) == len(shapes) and all(one[1:] == shape for one, shape in zip(order, shapes, strict=True))


def _unet_orders(classes: set[str], shapes: list[tuple[int, int] | None]) -> Iterator[list[_Module]]:
    if not classes & _ATTENTIONS or classes - _ATTENTIONS - {"GEGLU"}:
        return
    down = [(f"down_blocks.{level}.attentions.{number}", 320 * 2**level) for level in range(3) for number in range(2)]
    up = [
        (f"up_blocks.{level}.attentions.{number}", 320 * 2 ** (3 - level)) for level in (1, 2, 3) for number in range(3)
    ]
    middle = [("mid_block.attentions.0", 1280)]
    # Without GEGLUs both orders within a block are one.
    between = (False, True) if "GEGLU" in classes else (None,)
    for blocks, early, text in product((down + up + middle, down + middle + up), between, _TEXT_WIDTHS):
        yield [module for name, width in blocks for module in _block(name, width, text, early)]


def _block(name: str, width: int, text: int, early: bool | None) -> list[_Module]:
    """A transformer block's; `early`: the GEGLU comes before the cross-attention, None: there is none."""
    inside = f"{name}.transformer_blocks.0"
    one, two = (
        [
            (f"{inside}.{kind}.{end}", width, text if kind == "attn2" and end in ("to_k", "to_v") else width)
            for end in ("to_q", "to_k", "to_v", "to_out.0")
        ]
        for kind in ("attn1", "attn2")
    )
    gate = [] if early is None else [(f"{inside}.ff.net.0.proj", 8 * width, width)]
    return [*one, *gate, *two] if early else [*one, *two, *gate]


def _text_orders(classes: set[str], shapes: list[tuple[int, int] | None]) -> Iterator[list[_Module]]:
    layers, left = divmod(len(shapes), 4)
    if classes != {"CLIPAttention"} or left or shapes[0] is None or shapes[0][0] not in _TEXT_WIDTHS:
        return
    width = shapes[0][0]
    yield [
        (f"text_model.encoder.layers.{number}.self_attn.{end}", width, width)
        for number in range(layers)
        for end in ("k_proj", "v_proj", "q_proj", "out_proj")
    ]
