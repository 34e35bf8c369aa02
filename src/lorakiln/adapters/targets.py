"""Which modules of a network an adapter is put on."""

import difflib
import fnmatch

from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family


def list_target_names(family: Family, targets: str | list[str]) -> list[str]:
    """Full names, sorted, of the modules that a preset or a list of endings and patterns means.

    An ending matches whole parts of a name: "to_q" means every "...to_q", "attn2.to_q" those of cross-attention. A
    pattern holds "*" and matches whole names: "up_blocks.*.to_q".

    Raises:
        UserError: an unknown preset, or an ending that no linear layer or convolution has.
    """
    if isinstance(targets, str):
        return family.target_modules(targets)
    able = [name for name, m in family.network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    chosen: set[str] = set()
    for ending in targets:
        if "*" in ending:
            found = fnmatch.filter(able, ending)
        else:
            found = [name for name in able if name == ending or name.endswith("." + ending)]
        if not found:
            raise UserError(
                f"no linear layer or convolution's name {'matches' if '*' in ending else 'ends in'} {ending!r}",
                where="train.adapter.targets",
                fix=_suggestion(ending, able),
            )
        chosen.update(found)
    if not chosen:
        raise UserError("no module is named", where="train.adapter.targets", fix="use the preset `attention`")
    return sorted(chosen)


def _suggestion(ending: str, names: list[str]) -> str:
    endings = sorted({".".join(name.split(".")[-2:]) for name in names} | {name.split(".")[-1] for name in names})
    near = difflib.get_close_matches(ending, endings, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"endings here: {', '.join(endings[:12])}, ..."
