"""Putting the adapter that the settings describe on a network."""

import difflib
import fnmatch
from pathlib import Path

from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.families.family import Family
from lorakiln.lora_files import peft_form
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.lycoris import FULL_RANK
from lorakiln.lora_files.reading import LoraFile, read_lora
from lorakiln.schema.train import AdapterSettings


def target_names(family: Family, targets: str | list[str]) -> list[str]:
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


def put_adapter(family: Family, settings: AdapterSettings, names: list[str], seed: int) -> None:
    """Put the adapter on the named modules of `family.network`, in place.

    Raises:
        UserError: an `init_from` that does not fit them.
    """
    peft_form.wrap(family.network, names, settings.rank, settings.alpha, settings.dropout, seed)
    if settings.init_from:
        peft_form.write(family.network, _fitting(read_lora(Path(settings.init_from)), settings, names))


def _fitting(found: LoraFile, settings: AdapterSettings, names: list[str]) -> Adapter:
    adapter = found.adapter
    if full := sorted(kind for kind in set(found.kinds.values()) if kind in FULL_RANK):
        raise UserError(
            f"its layers are {' and '.join(full)}, whose changes of the weights are of no low rank",
            where=settings.init_from,
            fix=f"lorakiln convert {settings.init_from} lora.safetensors --rank {settings.rank} says what is lost; "
            "go on from that",
        )
    expected = {f"unet.{name}" for name in names}
    if expected != set(adapter.layers):
        raise UserError(
            f"it adapts {len(adapter.layers)} modules, the settings {len(names)}, and not all are the same",
            where=settings.init_from,
            fix="set train.adapter.targets as it was when the file was trained",
        )
    ranks = {layer.rank for layer in adapter.layers.values()}
    if ranks != {settings.rank}:
        raise UserError(
            f"its rank is {', '.join(map(str, sorted(ranks)))}, the settings' {settings.rank}",
            where=settings.init_from,
            fix=f"set train.adapter.rank={max(ranks)}"
            if len(ranks) == 1
            else f"make them one: lorakiln convert {settings.init_from} lora.safetensors --rank {min(ranks)}",
        )
    # What the file does is kept where its alpha differs: the ratio of the scales goes into `up`.
    scale = settings.alpha / settings.rank
    layers = {
        name: Layer(layer.down.float(), layer.up.float() * (layer.scale / scale), settings.alpha)
        for name, layer in adapter.layers.items()
    }
    return Adapter(layers)


def _suggestion(ending: str, names: list[str]) -> str:
    endings = sorted({".".join(name.split(".")[-2:]) for name in names} | {name.split(".")[-1] for name in names})
    near = difflib.get_close_matches(ending, endings, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"endings here: {', '.join(endings[:12])}, ..."
