"""Putting the adapter that the settings describe on the networks of a model."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.networks import AdaptedNetworks, Placement, find_denoiser_part, put_on
from lorakiln.adapters.protocol import StartingPoint
from lorakiln.adapters.targets import check_patterns
from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family
from lorakiln.lora_files.embeddings import warn_unused
from lorakiln.lora_files.reading import read_as_stored
from lorakiln.schema.adapters import AdapterSettings


def put_adapter(family: Family, settings: AdapterSettings, names: list[str], seed: int) -> AdaptedNetworks:
    """Put the adapter on the named modules of `family.network`, in place.

    Raises:
        UserError: an `init_from` that does not fit them.
    """
    check_patterns(settings, names)
    adapted = put_on(family, {find_denoiser_part(family): Placement(names, settings)}, seed)
    if settings.init_from:
        go_on(adapted, settings, family.facts["path"])
    return adapted


def go_on(adapted: AdaptedNetworks, settings: AdapterSettings, base: str) -> None:
    """Let a fresh adapter do what that of the file `settings.init_from` does.

    Args:
        base: the base model's path, to be told.

    Raises:
        UserError: the file's modules, kind or rank are others than the settings'.
    """
    path = Path(str(settings.init_from))
    found, fresh = read_as_stored(path), adapted.read()
    given = found.adapter.layers
    _check_modules(given, fresh.layers, settings)
    warn_unused(found.adapter.embeddings, path)
    begun = StartingPoint(given, found.full_rank, base)
    adapted.write(Adapter(dict(adapted.kind.go_on(begun, fresh.layers, settings))))


def _check_modules(given: Mapping[str, object], fresh: Mapping[str, object], settings: AdapterSettings) -> None:
    file = shlex.quote(str(settings.init_from))
    surplus = sorted(set(given) - set(fresh))
    texts = [name for name in surplus if name.startswith("text_encoder")]
    if texts:
        part = next(iter(fresh)).partition(".")[0]
        raise UserError(
            f"it adapts {len(texts)} layers of text encoders too, which stay as they are here",
            where=settings.init_from,
            fix=f"take the network's part alone: `lorakiln convert {file} lora.safetensors --only {part}`",
        )
    if surplus:
        raise UserError(
            f"of its {len(given)} modules the settings leave out {len(surplus)}, such as {surplus[0]}",
            where=settings.init_from,
            fix=f"set train.adapter.targets as `lorakiln inspect {file}` says for this file",
        )
