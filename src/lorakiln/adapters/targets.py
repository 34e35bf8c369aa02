"""Putting the adapter that the settings describe on a network."""

import difflib
import fnmatch
import shlex
from pathlib import Path

from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.families.family import Family
from lorakiln.lora_files import peft_form
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.embeddings import warn_unused
from lorakiln.lora_files.lycoris import FULL_RANK
from lorakiln.lora_files.reading import LoraFile, read_any
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
        found, fresh = read_any(Path(settings.init_from)), peft_form.read(family.network)
        _check_kinds(found, settings, family.facts["path"])
        warn_unused(found.adapter.embeddings, Path(settings.init_from))
        peft_form.write(family.network, _continued(found.adapter, fresh, settings))


def _check_kinds(found: LoraFile, settings: AdapterSettings, base: str) -> None:
    relative = {layer.kind for layer in found.adapter.relative.values()}
    if full := sorted({kind for kind in found.kinds.values() if kind in FULL_RANK} | relative):
        command = f"lorakiln convert {_quoted(settings)} lora.safetensors --rank {settings.rank}"
        raise UserError(
            f"its layers are {' and '.join(full)}, whose changes of the weights are of no low rank",
            where=settings.init_from,
            fix=f"{command}{f' --base {shlex.quote(base)}' if relative else ''} says what is lost; go on from that",
        )


def _continued(given: Adapter, fresh: Adapter, settings: AdapterSettings) -> Adapter:
    """An adapter of the settings' modules and rank that changes every weight as the given one does.

    Modules that the given one leaves alone begin fresh, and so do the ranks that it lacks: their `up` is 0.
    """
    _check_modules(given, fresh, settings)
    largest = max(layer.rank for layer in given.layers.values())
    if largest > settings.rank:
        smaller = f"`lorakiln resize {_quoted(settings)} lora.safetensors --rank {settings.rank}`"
        raise UserError(
            f"its rank is {largest}, the settings' {settings.rank}", where=settings.init_from,
            fix=f"set train.adapter.rank={largest}, or cut it down: {smaller}",
        )  # fmt: skip
    return Adapter({name: _widened(given.layers.get(name), layer) for name, layer in fresh.layers.items()})


def _widened(given: Layer | None, fresh: Layer) -> Layer:
    if given is None:
        return fresh
    down, up = fresh.down.clone(), fresh.up.clone()
    if given.down[0].numel() != down[0].numel() or given.up.shape[0] != up.shape[0]:
        return given  # another base model's; told by `peft_form.write`
    # A 1x1 convolution may come as a linear layer. What the file does is kept where its scale differs: the ratio of
    # the scales goes into `up`.
    down[: given.rank] = given.down.float().view(given.rank, *down.shape[1:])
    up[:, : given.rank] = given.up.float().view(-1, given.rank, *up.shape[2:]) * (given.scale / fresh.scale)
    return Layer(down, up, fresh.alpha)


def _check_modules(given: Adapter, fresh: Adapter, settings: AdapterSettings) -> None:
    surplus = sorted(set(given.layers) - set(fresh.layers))
    texts = [name for name in surplus if name.startswith("text_encoder")]
    if texts:
        raise UserError(
            f"it adapts {len(texts)} layers of text encoders too, which stay as they are here",
            where=settings.init_from,
            fix=f"take the UNet's part alone: `lorakiln convert {_quoted(settings)} lora.safetensors --only unet`",
        )  # fmt: skip
    if surplus:
        raise UserError(
            f"of its {len(given.layers)} modules the settings leave out {len(surplus)}, such as {surplus[0]}",
            where=settings.init_from,
            fix=f"set train.adapter.targets as `lorakiln inspect {_quoted(settings)}` says for this file",
        )  # fmt: skip


def _quoted(settings: AdapterSettings) -> str:
    """The file, as one writes it in a shell."""
    return shlex.quote(str(settings.init_from))


def _suggestion(ending: str, names: list[str]) -> str:
    endings = sorted({".".join(name.split(".")[-2:]) for name in names} | {name.split(".")[-1] for name in names})
    near = difflib.get_close_matches(ending, endings, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"endings here: {', '.join(endings[:12])}, ..."
