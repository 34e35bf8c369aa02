"""What a LoRA file is: form, base model, ranks, alphas, norms, metadata, and the settings to go on with."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from lorakiln.adapters.adapter import Adapter, Change, Embedding, Layer
from lorakiln.families.kinds import FamilyKind, find_version_predicting, list_versions
from lorakiln.lora_files.base_model import find_base_version, find_generation, find_lora_family
from lorakiln.lora_files.reading import read_any, read_as_stored
from lorakiln.tools.rank_reduction import compute_singular

CONVERTED = "lora.safetensors"  # what the printed command writes
RANKS = 1024  # the most that train.adapter.rank takes
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.ASCII)
Counted = TypeVar("Counted", float, str)
KEY = re.compile(r"[a-z][\w-]*( [a-z][\w-]*)*", re.ASCII | re.IGNORECASE)  # words that Hydra takes without quotes
PLAIN = re.compile(r"[\w./:@%+~-]+", re.ASCII)  # values that Hydra's grammar takes without quotes


def inspect(path: Path) -> dict[str, Any]:
    """Everything that a file says, as plain data.

    Raises:
        UserError: it is missing, damaged or no LoRA.
    """
    found = read_any(path, weights_only=True)
    adapter, changes = found.adapter, found.adapter.changes
    layers = [_layer(name, layer) for name, layer in sorted(changes.items())]
    base, said = find_base_version(adapter), adapter.metadata.get("ss_base_model_version", "")
    # kohya's word says more where it says the same: sd_v2_v.
    base = said if said and base in (said[: len(base)], "unknown") else base
    return {
        "file": str(path),
        "form": found.form,
        "kinds": found.kinds,
        "base": base,
        "parts": dict(Counter(name.split(".")[0] for name in changes)),
        "ranks": _counted(layer.rank for layer in changes.values() if layer.rank is not None),
        "alphas": _counted(layer.alpha for layer in changes.values() if layer.alpha is not None),
        "dtype": _counted(str(layer.dtype).removeprefix("torch.") for layer in changes.values()),
        "parameters": sum(layer.parameters for layer in changes.values()),
        "needs_base": len(adapter.relative),
        "beside": found.left_out,
        "embeddings": [_embedding(one) for one in adapter.embeddings.values()],
        "norm": sum(layer["norm"] ** 2 for layer in layers if layer["norm"] is not None) ** 0.5,
        "layers": layers,
        "metadata": {key: _value(text) for key, text in sorted(adapter.metadata.items())},
        "retrain": suggest_settings(path, adapter, bool(found.full_rank), found.left_out, found.trainable),
    }


def _embedding(one: Embedding) -> dict[str, Any]:
    return {"word": one.word, "vectors": {part: list(vectors.shape) for part, vectors in one.vectors.items()}}


def _layer(name: str, layer: Change) -> dict[str, Any]:
    known = {"name": name, "rank": layer.rank, "alpha": layer.alpha, "shape": layer.shape and list(layer.shape)}
    low = layer.low_rank()
    if low is None:
        return known | {"kind": layer.kind, "norm": None, "effective_rank": None}
    _, s, _ = compute_singular(low)
    total = float(s.square().sum())
    # exp of the entropy of the energy's shares: how many of the rank's directions are in use
    return known | {"norm": total**0.5, "effective_rank": _effective(s.square() / total) if total else 0.0}


def _effective(shares: Tensor) -> float:
    shares = shares[shares > 0]
    return float((-(shares * shares.log()).sum()).exp())


def suggest_settings(
    path: Path, adapter: Adapter, full: bool = False, beside: Sequence[str] = (), kind: str | None = None
) -> list[str]:
    """The settings with which training can go on from this file, each as one writes it in a shell.

    Where it cannot go on from the file as it is, the one command that makes a file it can go on from; of a file without
    the denoiser's part nothing. Text encoders that the file adapts are trained too.

    Args:
        full: its changes are of full rank, and are to be cut down.
        beside: what it changes of biases and norms, which is to be left out.
        kind: the trainable one that all its layers are of; None: a LoRA goes on from it.
    """
    parts = {name.partition(".")[0] for name in adapter.changes}
    family = find_lora_family(adapter)
    network = family.layout.network
    if network not in parts:
        return []
    if kind and parts == {network} and not beside:
        return [*_of_kind(kind, path, family), *_told(adapter, family)]
    mine = adapter.select(network).layers
    encoders = [part for part in family.layout.networks if part in parts - {network}]
    rank = max((layer.rank for layer in mine.values()), default=0)
    needed = {
        " --rank 32": full or adapter.relative or rank > RANKS,
        " --base BASE": adapter.relative,
        " --weights-only": beside,
        f" --only {network}": parts - {network, *encoders},
    }
    if options := "".join(option for option, wanted in needed.items() if wanted):
        return [f"lorakiln convert {shlex.quote(str(path))} {CONVERTED}{options}"]
    # Lower ranks are filled up, and each layer's change stays what it is: the scale is the one most layers have, of
    # those with which one can train.
    scale = Counter(layer.scale for layer in mine.values() if layer.alpha > 0).most_common(1)
    settings = [
        format_override("train.adapter.init_from", str(path)),
        f"train.adapter.rank={rank}",
        f"train.adapter.alpha={scale[0][0] * rank if scale else rank:g}",
        _targets(mine, family),
        *_of_encoders(adapter, [network, *encoders]),
        *list_words(adapter.embeddings),
    ]
    if model := _model(adapter):
        settings.insert(0, f"model={model}")
    return settings + _told(adapter, family, encoders)


def _of_kind(kind: str, path: Path, family: FamilyKind) -> list[str]:
    """The settings of a kind that goes on from its own layers as they are."""
    layers = read_as_stored(path).adapter.layers
    ranks, alphas = ({getattr(layer, name) for layer in layers.values()} for name in ("rank", "alpha"))
    return [
        format_override("train/adapter", kind),
        format_override("train.adapter.init_from", str(path)),
        *(
            f"train.adapter.{name}={max(one):g}"
            for name, one in (("rank", ranks), ("alpha", alphas))
            if None not in one
        ),
        _targets(layers, family),
    ]


def _targets(layers: Iterable[str], family: FamilyKind) -> str:
    """`train.adapter.targets` for these layers of the trained network, as Hydra takes it."""
    targets = family.suggest_targets(name.removeprefix(f"{family.layout.network}.") for name in layers)
    listed = targets if isinstance(targets, str) else f"[{','.join(targets)}]"
    return shlex.quote(f"train.adapter.targets={listed}")


def _of_encoders(adapter: Adapter, parts: Sequence[str]) -> list[str]:
    """The settings that train a file's text encoders too; `parts` are those that it adapts, the denoiser first."""
    if len(parts) == 1:
        return []
    told = [shlex.quote(f"train.parts=[{','.join(parts)}]")]
    wanted = {part: _of_encoder(adapter.select(part).layers) for part in parts[1:]}
    alike = len({tuple(one.items()) for one in wanted.values()}) == 1
    for part, settings in wanted.items():
        where = "train.text_encoders" if alike else f"+train.text_encoders.own.{part}"
        told += [shlex.quote(f"{where}.{name}={value}") for name, value in settings.items()]
    return list(dict.fromkeys(told))


def _of_encoder(layers: Mapping[str, Layer]) -> dict[str, str]:
    """What one encoder's adapter has: its rank, its alpha, and the ends of its modules' names."""
    rank = max(layer.rank for layer in layers.values())
    scale = Counter(layer.scale for layer in layers.values() if layer.alpha > 0).most_common(1)
    ends = sorted({name.rpartition(".")[2] for name in layers})
    return {"rank": str(rank), "alpha": f"{scale[0][0] * rank if scale else rank:g}", "targets": f"[{','.join(ends)}]"}


def list_words(words: Mapping[str, Embedding]) -> list[str]:
    """The setting that trains a file's words too, as one writes it in a shell; none of words that mean something to
    Hydra: what stands in a file is run by whoever copies the command.
    """
    if not words or not all(KEY.fullmatch(word) for word in words):
        return []
    tokens = [f"{word}: {{vectors: {len(next(iter(one.vectors.values())))}}}" for word, one in words.items()]
    return [shlex.quote(f"+train.tokens={{{', '.join(tokens)}}}")]


def _told(adapter: Adapter, family: FamilyKind, encoders: Sequence[str] = ()) -> list[str]:
    """The settings of the training that the file's metadata tell."""
    settings, told = [], adapter.metadata
    wanted = {"ss_unet_lr": "train.optimizer.lr", "ss_total_batch_size": "train.batch_size", "ss_seed": "train.seed"}
    if encoders:
        wanted["ss_text_encoder_lr"] = "train.text_encoders.lr"
    rates = told.get("ss_text_encoder_lr", "").strip("[]").split(", ")
    if len(rates) == len(encoders) > 1 and all(map(NUMBER.fullmatch, rates)):
        own = (f"+train.text_encoders.own.{part}.lr" for part in encoders)
        settings += [format_override(name, rate) for name, rate in zip(own, rates, strict=True)]
    # sd-scripts tells it of bases with two encoders too, and did not heed it.
    if told.get("ss_clip_skip") != "1" and ("lorakiln_version" in told or len(family.layout.networks) <= 2):
        wanted["ss_clip_skip"] = "encode.clip_skip"
    for key, setting in wanted.items():
        value = told.get(key)
        # What stands there is run by whoever copies the command: numbers alone.
        if value and NUMBER.fullmatch(value):
            settings.append(format_override(setting, value))
    return settings


def _model(adapter: Adapter) -> str | None:
    """The settings that suit its base; None: of one whose widths no published one has, and where nothing tells it."""
    texts = {one.text_width for one in list_versions()}
    encoders = {width for one in list_versions() for width in one.encoder_widths}
    for name, layer in adapter.layers.items():
        of_text = name.endswith(("attn2.to_k", "attn2.to_v")) and layer.shape[1] not in texts
        if of_text or (name.endswith("self_attn.q_proj") and layer.shape[1] not in encoders):
            return None
    found = find_generation(adapter)
    if found is None:
        return None
    said = adapter.metadata.get("ss_base_model_version")
    v = adapter.metadata.get("modelspec.prediction_type", "").lower().startswith("v")
    exact = next((one for one in list_versions() if one.kohya == said and one.name == found.name), None)
    if exact is None or (exact.prediction and v):
        exact = find_version_predicting(found, "v_prediction") if v else found
    return exact.model or found.model


def format_override(setting: str, value: str) -> str:
    """`setting=value`, quoted for Hydra where its grammar needs it, and then for the shell."""
    if not PLAIN.fullmatch(value):
        # Backslashes are doubled only where they would escape the quote behind them.
        escaped = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), value)
        value = f'"{escaped}"'
    return shlex.quote(f"{setting}={value}")


def _counted(values: Iterable[Counted]) -> dict[str, int]:
    counts = Counter(values)
    return {
        (f"{value:g}" if isinstance(value, float) else str(value)): count for value, count in sorted(counts.items())
    }


def _value(text: str) -> Any:
    """Metadata is strings; what is JSON inside is shown as such."""
    if text[:1] in "{[":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
