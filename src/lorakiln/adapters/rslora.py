"""Rank-stabilised LoRA (arXiv 2312.03732): delta W = (alpha / sqrt(rank)) up @ down.

On a network and in files it is a LoRA whose alpha is alpha * sqrt(rank), which every program reads right.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from lorakiln.adapters import lora, lora_network
from lorakiln.facts.run import RunFacts
from lorakiln.schema.adapters import PairSettings

TITLE = "rsLoRA"
FULL_RANK, RELATIVE = lora.FULL_RANK, lora.RELATIVE
ENDINGS = lora.ENDINGS

claim, read = lora.claim, lora.read
layers_on, read_from, write_to, start_from = lora.layers_on, lora.read_from, lora.write_to, lora.start_from
compute_squared_norms, clip_norms, prepare_for_autocast, list_frozen, learns_faster = (
    lora.compute_squared_norms,
    lora.clip_norms,
    lora.prepare_for_autocast,
    lora.list_frozen,
    lora.learns_faster,
)
at_weight = lora.at_weight
scale, cast, compute_norms = lora.scale, lora.cast, lora.compute_norms
tensors, config, fold = lora.tensors, lora.config, lora.fold


def put_on(network: nn.Module, modules: Sequence[str], settings: PairSettings, seed: int) -> None:
    lora_network.put_pairs(network, modules, settings, seed, _to_lora_alpha)


def metadata(facts: RunFacts, settings: PairSettings) -> dict[str, Any]:
    return lora.metadata(facts.changed(alpha=_to_lora_alpha(facts.alpha, facts.rank)), settings)


def _to_lora_alpha(alpha: float, rank: int) -> float:
    return alpha * math.sqrt(rank)
