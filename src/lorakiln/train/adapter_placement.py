"""Putting the adapter that the settings describe on the networks of a model."""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.adapters.networks import AdaptedNetworks, Placement, find_denoiser_part, put_on
from lorakiln.adapters.protocol import StartingPoint
from lorakiln.adapters.targets import check_patterns, list_target_names
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_networks
from lorakiln.families.protocol import Family
from lorakiln.lora_files.embeddings import is_embedding, warn_unused
from lorakiln.lora_files.reading import read_as_stored
from lorakiln.schema.adapters import AdapterSettings
from lorakiln.schema.base import check
from lorakiln.schema.text_encoders import TextEncodersSettings
from lorakiln.schema.train import TrainSettings

TEXT_TARGETS = "kohya"  # what sd-scripts adapts of a text encoder


def list_parts(family: str, settings: TrainSettings) -> list[str]:
    """What is trained of a base, by its parts' names in LoRA files, in the base's order: the denoiser comes first.

    Args:
        family: its name.

    Raises:
        UserError: one of `train.parts` is none of this base's, or an encoder has settings and is not trained.
    """
    denoiser, *_ = there = list_networks(family)
    asked = [denoiser] if settings.parts is None else settings.parts
    if wrong := sorted(set(asked) - set(there)):
        raise UserError(
            f"this base has no part {wrong[0]!r} that an adapter can be on", where="train.parts", fix=name_parts(there)
        )
    if settings.text_encoders != TextEncodersSettings() and asked == [denoiser]:
        raise UserError(
            "train.text_encoders says how text encoders are trained, and none is",
            where="train.parts",
            fix=f"add one, or leave train.text_encoders as it is; {name_parts(there)}",
        )
    if denoiser in settings.text_encoders.own:
        fix = "its settings stand in train.adapter and train.optimizer"
        raise UserError(f"{denoiser} is no text encoder", where="train.text_encoders.own", fix=fix)
    return [part for part in there if part in asked]


def list_encoders(family: str, settings: TrainSettings) -> list[str]:
    """The text encoders among what is trained; see `list_parts`."""
    denoiser = list_networks(family)[0]
    return [part for part in list_parts(family, settings) if part != denoiser]


def name_parts(there: Sequence[str]) -> str:
    """The parts that there are, to be told."""
    return f"the parts of this base: {', '.join(there)}"


def list_placements(family: Family, settings: TrainSettings) -> dict[str, Placement]:
    """What is put on which of a base's networks, by part.

    Args:
        family: with the parts that are trained, bare.

    Raises:
        UserError: modules that are not there, or settings that an encoder's adapter cannot have.
    """
    found = {}
    for part in list_parts(family.name, settings):
        if part == family.part:
            found[part] = Placement(list_target_names(family, settings.adapter.targets), settings.adapter)
            continue
        targets = settings.text_encoders.choose(part).targets or TEXT_TARGETS
        found[part] = Placement(list_target_names(family, targets, part), choose_encoder_settings(settings, part))
    return found


def choose_encoder_settings(settings: TrainSettings, part: str) -> AdapterSettings:
    """The settings of the adapter on a text encoder: `train.adapter`, with what `train.text_encoders` has otherwise.

    Raises:
        ConfigError: this kind of adapter cannot have it.
    """
    own, adapter = settings.text_encoders.choose(part), settings.adapter
    rank = own.rank or adapter.rank
    changes = {
        "rank": rank,
        "alpha": own.alpha or adapter.alpha * rank / adapter.rank,
        "dropout": adapter.dropout if own.dropout is None else own.dropout,
        "targets": own.targets or TEXT_TARGETS,
    }
    return check(type(adapter), {**adapter.model_dump(), **changes}, f"train.text_encoders, for {part}")


def inject_adapters(
    family: Family, placements: Mapping[str, Placement], seed: int, words: Collection[str] = ()
) -> AdaptedNetworks:
    """Put the adapters of `list_placements` on networks of `family`, in place.

    Args:
        words: that are trained too (`train.learned_tokens`); a file of such alone may be the one to go on from.

    Raises:
        UserError: an `init_from` that does not fit them, or a pattern that means none of their modules.
    """
    names = [name for placement in placements.values() for name in placement.modules]
    first = next(iter(placements.values())).settings
    check_patterns(first, names)
    adapted = put_on(family, placements, seed)
    if first.init_from:
        start_from(adapted, {part: one.settings for part, one in placements.items()}, family, words)
    return adapted


def inject_adapter(family: Family, settings: AdapterSettings, names: list[str], seed: int) -> AdaptedNetworks:
    """Put the adapter on the named modules of `family.network` alone, in place.

    Raises:
        UserError: see `inject_adapters`.
    """
    return inject_adapters(family, {find_denoiser_part(family): Placement(names, settings)}, seed)


def start_from(
    adapted: AdaptedNetworks, settings: Mapping[str, AdapterSettings], family: Family, words: Collection[str] = ()
) -> None:
    """Let fresh adapters do what those of the file `init_from` do; where it is of words alone they stay fresh.

    Args:
        settings: of each part's adapter.
        words: see `inject_adapters`.

    Raises:
        UserError: the file's modules, kind or rank are others than the settings'.
    """
    one = next(iter(settings.values()))
    path = Path(str(one.init_from))
    if words and is_embedding(path):
        return
    found, fresh = read_as_stored(path), adapted.read()
    given = found.adapter.layers
    _check_modules(given, fresh.layers, one, list_networks(family.name), list(settings))
    trained = {word.lower() for word in words}
    warn_unused({word: one for word, one in found.adapter.embeddings.items() if word.lower() not in trained}, path)
    layers: dict[str, Change] = {}
    for part, own in settings.items():
        begun = StartingPoint(_select(given, part), found.full_rank, family.facts["path"])
        layers |= adapted.kind.start_from(begun, _select(fresh.layers, part), own)
    adapted.write(Adapter(layers))


def _select(layers: Mapping[str, Change], part: str) -> dict[str, Change]:
    return {name: layer for name, layer in layers.items() if name.startswith(f"{part}.")}


def _check_modules(
    given: Mapping[str, object],
    fresh: Mapping[str, object],
    settings: AdapterSettings,
    there: Sequence[str],
    trained: Sequence[str],
) -> None:
    """Refuse a file with layers that no adapter is put on.

    Args:
        there: the base's parts; `trained`: those that carry adapters.
    """
    file = shlex.quote(str(settings.init_from))
    surplus = sorted(set(given) - set(fresh))
    counts = Counter(name.partition(".")[0] for name in surplus)
    if others := [part for part in counts if part not in trained]:
        wanted = [part for part in there if part in {*trained, *others}]
        alone = f"`lorakiln convert {file} lora.safetensors --only {trained[0]}` makes a file of {trained[0]} alone"
        raise UserError(
            f"it adapts {format_count(counts[others[0]], 'layer')} of {others[0]} too, which stays as it is here",
            where=settings.init_from,
            fix=f"train it as well, train.parts=[{','.join(wanted)}]; or {alone}",
        )
    if surplus:
        raise UserError(
            f"of its {format_count(len(given), 'module')} the settings leave out {len(surplus)}, such as {surplus[0]}",
            where=settings.init_from,
            fix=f"set train.adapter.targets as `lorakiln inspect {file}` says for this file",
        )
