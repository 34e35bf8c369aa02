"""Which modules of a network an adapter is put on."""

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family
from lorakiln.schema.adapters import LowRankSettings

Value = TypeVar("Value", int, float)


def fits(key: str, name: str) -> bool:
    """Whether an ending, whole parts of a name, or a pattern with "*", the whole name, means a module of this name."""
    if "*" in key:
        return fnmatch.fnmatchcase(name, key)
    return name == key or name.endswith(f".{key}")


def choose_rank(settings: LowRankSettings, name: str) -> int:
    """A module's rank: of the longest key of the pattern that means it, or the settings' own."""
    return _choose(settings.rank_pattern, name, settings.rank)


def choose_alpha(settings: LowRankSettings, name: str) -> float:
    """A module's alpha, in the same way. Of a rank of its own it stays `alpha`, as in peft."""
    return _choose(settings.alpha_pattern, name, settings.alpha)


def _choose(pattern: Mapping[str, Value], name: str, otherwise: Value) -> Value:
    found = max((key for key in pattern if fits(key, name)), key=lambda key: (len(key), key), default=None)
    return otherwise if found is None else pattern[found]


def check_patterns(settings: object, names: Iterable[str]) -> None:
    """Refuse patterns of ranks and alphas, and lists of modules, that mean none of the adapted ones.

    Raises:
        UserError: one of them does not.
    """
    adapted = list(names)
    for setting in ("rank_pattern", "alpha_pattern", "on_input"):
        for key in getattr(settings, setting, ()):
            # What IA3 takes for granted of a network need not be adapted.
            if setting == "on_input" and key == "ff.net.2":
                continue
            if not any(fits(key, name) for name in adapted):
                raise UserError(
                    f"no adapted module's name {'matches' if '*' in key else 'ends in'} {key!r}",
                    where=f"train.adapter.{setting}",
                    fix=_suggestion(key, adapted),
                )


def list_target_names(family: Family, targets: str | list[str], part: str | None = None) -> list[str]:
    """Full names, sorted, of the modules that a preset or a list of endings and patterns means: of the denoiser, or of
    another part, as `Family.adaptable` names them.

    An ending matches whole parts of a name: "to_q" means every "...to_q", "attn2.to_q" those of cross-attention. A
    pattern holds "*" and matches whole names: "up_blocks.*.to_q".

    Raises:
        UserError: an unknown preset, or an ending that no linear layer or convolution has.
    """
    if isinstance(targets, str):
        return family.target_modules(targets, part)
    network = family.network if part is None else family.adaptable()[part]
    where = f"train.{'adapter' if part in (None, family.part) else 'text_encoders'}.targets"
    able = [name for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    chosen: set[str] = set()
    for ending in targets:
        found = [name for name in able if fits(ending, name)]
        if not found:
            raise UserError(
                f"no linear layer or convolution's name {'matches' if '*' in ending else 'ends in'} {ending!r}",
                where=where,
                fix=_suggestion(ending, able),
            )
        chosen.update(found)
    if not chosen:
        raise UserError("no module is named", where=where, fix="use the preset `attention`")
    return sorted(chosen)


def _suggestion(ending: str, names: list[str]) -> str:
    endings = sorted({".".join(name.split(".")[-2:]) for name in names} | {name.split(".")[-1] for name in names})
    near = difflib.get_close_matches(ending, endings, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"endings here: {', '.join(endings[:12])}, ..."
