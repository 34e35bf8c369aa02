"""Which targets a file's layers were put on, told by their names alone; `presets.py` asks a loaded network."""

import re
from collections.abc import Iterable

ATTENTION = tuple(f"{attn}.{to}" for attn in ("attn1", "attn2") for to in ("to_q", "to_k", "to_v", "to_out.0"))
KOHYA = frozenset({*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"})
LOCON = KOHYA | {
    "conv1",
    "conv2",
    "time_emb_proj",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
}
PRESETS = {"attention": frozenset(ATTENTION), "kohya": KOHYA, "locon": LOCON}
_BLOCK = re.compile(r"(down_blocks|up_blocks)\.\d+|mid_block")
_KINDS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\.transformer_blocks\.\d+\.(.+)$",
        r"\.((?:down|up)samplers\.\d+\.conv)$",
        r"\.(?:attentions|resnets)\.\d+\.(.+)$",
    )
)


def suggest_targets(modules: Iterable[str]) -> str | list[str]:
    """See `families.kinds.FamilyKind`.

    Where the middle and both sides are adapted, the file has a layer wherever the network has one of that kind, as far
    as names tell it; else its kinds are looked for in its blocks alone.
    """
    kinds: set[str] = set()
    blocks: dict[str, set[str]] = {}
    for module in sorted(modules):
        kind = find_kind(module)
        kinds.add(kind)
        block = _BLOCK.match(module)
        blocks.setdefault(block[0] if block else "", set()).add(kind)
    sides = {block.partition("_")[0] for block in blocks}
    if sides >= {"down", "mid", "up"}:
        return next((name for name, known in PRESETS.items() if kinds == known), sorted(kinds))
    return [f"{block}.*{kind}" if block else kind for block, found in sorted(blocks.items()) for kind in sorted(found)]


def find_kind(module: str) -> str:
    """The end of a module's name that its like have in every block."""
    return next((match[1] for pattern in _KINDS if (match := pattern.search(module))), module)
