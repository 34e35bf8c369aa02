"""The text that `lorakiln inspect` prints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lorakiln.console.counts import format_count
from lorakiln.console.terminal_text import escape_text
from lorakiln.tools.inspect import CONVERTED

SHOWN = 100  # characters of a metadata value


def format_listing(found: dict[str, Any], layers: bool = False) -> str:
    """Lines for people from what `inspect` found; control characters in them are shown, not sent to the terminal."""
    lines = [
        f"{found['file']}",
        f"  form        {found['form']}{_kinds(found)}",
        f"  base        {found['base']}{_said(found)}",
        f"  layers      {sum(found['parts'].values())} ({_pairs(found['parts'])})",
        f"  rank        {_pairs(found['ranks'])}",
        f"  alpha       {_pairs(found['alphas'])}",
        f"  dtype       {', '.join(found['dtype'])}; {found['parameters']:,} parameters",
    ]
    if strongest := _strongest(found["layers"]):
        lines += [
            f"  norm        {found['norm']:.4g} (Frobenius, of all weight changes{_known(found)} together)",
            "  strongest   " + "; ".join(_layer(one) for one in strongest),
        ]
    if found["beside"]:
        lines.append(f"  beside      {format_left_out(found['beside'])}")
    if found["embeddings"]:
        lines.append("  embeddings  " + ", ".join(map(_embedding, found["embeddings"])))
    if layers:
        lines.append("layers")
        lines += [f"  {_layer(one)}{_rank(one)}" for one in found["layers"]]
    if found["metadata"]:
        lines.append("metadata")
        lines += [f"  {shorten_value(key)}: {shorten_value(value)}" for key, value in found["metadata"].items()]
    return escape_text("\n".join([*lines, *_going_on(found["retrain"])]))


def _going_on(retrain: Sequence[str]) -> list[str]:
    if not retrain:
        return [
            "no settings to go on with: it has no layer of the network that draws (text encoders alone: train.parts "
            "names them, and train.adapter.init_from this file)"
        ]
    if retrain[0].startswith("lorakiln "):
        command = ["to go on training from it, make a file that training takes first", f"  {retrain[0]}"]
        return [*command, f"and then with what `lorakiln inspect {CONVERTED}` says"]
    return ["to go on training from it, after `python -m train +experiment=...`", "  " + " \\\n      ".join(retrain)]


def _said(found: dict[str, Any]) -> str:
    said = found["metadata"].get("ss_base_model_version", found["base"])
    return "" if said == found["base"] else f" (its metadata says {said})"


def _kinds(found: dict[str, Any]) -> str:
    """made_of, where it is clear without a base model what the layers do."""
    if not found["needs_base"]:
        return format_kinds(found["kinds"])
    counts = Counter(found["kinds"].values())
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f", of them {listed}; what {found['needs_base']} of these do depends on the base model's weights"


def _known(found: dict[str, Any]) -> str:
    return " that are known" if found["needs_base"] else ""


def format_kinds(kinds: Mapping[str, str]) -> str:
    """ ", of them as LoRAs 3 LoKr, 2 LoHa": how many layers were of another kind, by their modules' kinds."""
    counts = Counter(kinds.values())
    return ", of them as LoRAs " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) if counts else ""


def format_left_out(beside: Sequence[str]) -> str:
    """What a LoRA cannot hold of a file, by the tensors' keys."""
    return f"changes of biases or norms, in {format_count(len(beside), 'tensor')}, which no LoRA holds ({beside[0]})"


def format_losses(lost: Mapping[str, float], rank: int) -> str:
    """What cutting layers down has cost, by ||dW_cut - dW|| / ||dW|| of each that was cut."""
    if not lost:
        return f"  ranks up to {rank}, nothing is lost; --rank N makes it smaller"
    name, worst = max(lost.items(), key=lambda one: one[1])
    mean = sum(lost.values()) / len(lost)
    return (
        f"  {format_count(len(lost), 'layer')} cut to rank {rank}: the relative error is {mean:.2%} on average, "
        f"at most {worst:.2%} ({name})"
    )


def _embedding(one: dict[str, Any]) -> str:
    counts = sorted({shape[0] for shape in one["vectors"].values()})
    return f"{one['word']} ({'/'.join(map(str, counts))} vector{'' if counts == [1] else 's'})"


def _pairs(counts: dict[str, int]) -> str:
    if len(counts) < 2:
        return next(iter(counts), "none")
    return ", ".join(f"{key} x {count}" for key, count in counts.items())


def _strongest(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((one for one in layers if one["norm"] is not None), key=lambda one: -one["norm"])[:3]


def _layer(one: dict[str, Any]) -> str:
    if one["norm"] is None:
        return f"{one['name']} {one['kind']}"
    return f"{one['name']} norm {one['norm']:.3g} in {one['effective_rank']:.1f} directions"


def _rank(one: dict[str, Any]) -> str:
    return "" if one["rank"] is None else f", rank {one['rank']}, alpha {one['alpha']:g}"


def shorten_value(value: Any) -> str:
    """A metadata's name or value in one line."""
    text = str(value).replace("\n", " ")
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
