"""How much memory a training takes: counted before anything is loaded, on tensors that hold nothing.

See `families.tensor_memory`. What is beside tensors is an allowance (`BESIDE`), for nothing here was measured on a GPU.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lorakiln.families.learned_words import list_word_tables, put_words
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding, Tokens
from lorakiln.families.protocol import Family, Part
from lorakiln.families.tensor_memory import META, GpuRules, Peak, count_held_bytes
from lorakiln.optim.state import count_state_bytes
from lorakiln.schema.tokens import TokenSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapter_placement import inject_adapters, list_encoders, list_placements
from lorakiln.train.batch_schedule import GlobalBatch
from lorakiln.train.encoded_dataset import Bucket, EncodedDataset
from lorakiln.train.live_text import LiveText
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.quantized_layers import quantize_layers
from lorakiln.train.share import Share
from lorakiln.train.trained_encoders import recompute_activations
from lorakiln.train.validation import choose_batch

BESIDE = 1_000_000_000  # bytes: CUDA's context, its libraries' workspaces, gaps between tensors
DRAWN = 8  # samples at once, at most


@dataclass(frozen=True)
class MemoryCount:
    """What a training holds, by what for, in bytes.

    Attributes:
        base: the frozen network, and the text encoders where one is trained, or a word.
        adapter: its weights, their gradients, their moving average and the optimizer's state.
        step: what a step's two passes hold at most beside these.
        validation: the same of validation; 0: there is none.
        row: what the network holds for each sample that it works on without gradients: two a picture with guidance.
        converted: the adapter's weights in half precision, which autocast keeps all that time.
        text: the text encoders' weights, where they are on the device only to draw.
        vae, decode: the VAE's weights, and what it holds beside them while it decodes a picture.
        rows: of the network for each picture drawn; 0: no samples are drawn.
        drawn: pictures drawn at once.
        dataset: what of it is on the device.
        on_gpu: VAE and text encoders are on the device only while they work, and the VAE takes one picture at once.
    """

    base: int
    adapter: int
    step: int
    validation: int = 0
    row: int = 0
    converted: int = 0
    text: int = 0
    vae: int = 0
    decode: int = 0
    rows: int = 0
    drawn: int = DRAWN
    dataset: int = 0
    on_gpu: bool = True

    @property
    def resident(self) -> int:
        """What stays from the first step to the last."""
        return self.base + self.adapter + self.dataset + (0 if self.on_gpu else self.text + self.vae)

    @property
    def samples(self) -> int:
        """What drawing holds at most beside that."""
        if not self.rows:
            return 0
        network = self.converted + self.drawn * self.rows * self.row
        if self.on_gpu:
            return max(network, self.text, self.vae + self.decode)
        return max(network, self.drawn * self.decode)

    @property
    def most(self) -> int:
        """The peak, with what is beside tensors."""
        beside = BESIDE if self.on_gpu else 0
        return self.resident + max(self.step, self.validation, self.samples) + beside

    def fitted(self, memory_fit: int) -> "MemoryCount":
        """With as many pictures drawn at once as there is room for, one at least."""
        for drawn in range(self.drawn, 1, -1):
            fewer = replace(self, drawn=drawn)
            if fewer.most <= memory_fit or fewer.samples <= max(self.step, self.validation):
                return fewer
        return replace(self, drawn=1)


@dataclass(frozen=True)
class CountRequest:
    """What memory is counted for.

    Args:
        family: may be without its parts.
        shape: (C, h, w) of the largest latents trained on.
        conditioning: as `encode` wrote it, any number of rows.
        drawn: (C, h, w) of the samples; None: this process draws none.
        guided: whether one of them has guidance, which takes a second row; None: as the settings say.
        validates: whether this process does.
        encoding: how texts are read where a text encoder is trained, or a word.
    """

    family: Family
    settings: TrainSettings
    share: Share
    shape: Sequence[int]
    conditioning: Mapping[str, Tensor]
    drawn: Sequence[int] | None = None
    guided: bool | None = None
    validates: bool = False
    encoding: PromptEncoding = PLAIN

    @property
    def encoders(self) -> list[str]:
        """The text encoders that are trained."""
        return list_encoders(self.family.name, self.settings)

    @property
    def reads_anew(self) -> bool:
        """Whether each step's gradients go through the text encoders, all of which stay on the device then."""
        return bool(self.encoders or self.settings.tokens)

    @property
    def micro(self) -> int:
        return self.settings.micro_batch or self.settings.batch_size // self.share.world


def count_memory(wanted: CountRequest) -> MemoryCount:
    """Run the training's own step, forward pass and decoding through, on tensors without numbers."""
    settings, on_gpu = wanted.settings, wanted.family.device.type != "cpu"
    parts: tuple[Part, ...] = ("network", "vae", "text") if wanted.drawn else ("network",)
    parts = ("network", "text") if wanted.reads_anew and not wanted.drawn else parts
    hollow = wanted.family.hollow(parts)
    if settings.trainer.quantize != "none":
        quantize_layers(hollow.network, settings.trainer.quantize, META)
    texts = [network for name, network in hollow.adaptable().items() if name != hollow.part]
    working = texts if wanted.reads_anew else []
    base = sum(map(count_held_bytes, [hollow.network, *working]))
    with Peak() as peak, GpuRules(on_gpu, settings.trainer.attention == "math") as rules:
        for part in (hollow.network, *working, *([hollow.vae] if wanted.drawn else [])):
            peak.hold([*part.parameters(), *part.buffers()])
        module = _make_hollow_module(hollow, wanted, rules)
        module.network.train()
        module.encoders.set_training(True)
        before = peak.again()
        _step(module)
        step = peak.most - before
        adapter = sum(tensor.nbytes for tensor in (module.flat.weights, module.flat.gradients))
        adapter += module.average.weights.nbytes if module.average else 0
        adapter += count_state_bytes(module.build_optimizer, module.optimizer)
        found = MemoryCount(base, adapter, step, on_gpu=on_gpu)
        if wanted.drawn or wanted.validates:
            converted = module.flat.weights.nbytes // 2 if wanted.share.half else 0
            row = (_two_rows(module, peak, wanted.drawn or wanted.shape) - converted) // 2
            found = replace(found, row=row, converted=converted)
        if wanted.validates:
            shape, drawn = wanted.shape, wanted.drawn or wanted.shape
            row = found.row * math.prod(shape) // math.prod(drawn)  # without the attention's matrix it is linear
            found = replace(found, validation=found.converted + choose_batch(shape[1:]) * row)
        if wanted.drawn:
            before = peak.again()
            hollow.decode_latents(torch.empty(1, *wanted.drawn, device=META))
            guided = settings.samples.guidance > 1 if wanted.guided is None else wanted.guided
            decode, rows = peak.most - before, 2 if guided else 1
            moved = 0 if working else sum(map(count_held_bytes, texts))
            found = replace(found, rows=rows, text=moved, vae=count_held_bytes(hollow.vae), decode=decode)
    return found


class _HollowText(LiveText):
    """Reads texts without numbers."""

    def tokenise(self, texts: Sequence[str]) -> dict[str, Tokens]:
        return self.family.make_blank_tokens(len(texts), self.encoding)


class _NoCaptions:
    """Texts that say nothing."""

    def texts(self, step: int, samples: GlobalBatch, part: slice) -> list[str]:
        return [""] * len(samples.pictures[part])


class _HollowModule(LoraModule):
    """A training module whose family is hollow: its steps can be run through, and nothing is computed."""

    rules: GpuRules
    kind = "cpu"  # by which `GpuRules` is told of autocast

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        return self.rules.autocast(self.share.half) if self.share.half else contextlib.nullcontext()

    def move(self, tensor: Tensor) -> Tensor:
        return tensor.to(META)


def _make_hollow_module(hollow: Family, wanted: CountRequest, rules: GpuRules) -> _HollowModule:
    settings, rows = wanted.settings, wanted.micro
    network: Any = hollow.network  # torch's types know no memory format alone
    network.to(memory_format=torch.channels_last)
    if settings.trainer.gradient_checkpointing:
        # The backward pass leaves the rules, and a part that it runs anew enters them again.
        checkpointed = partial(checkpoint, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), rules))
        network.enable_gradient_checkpointing(checkpointed)
        for part in wanted.encoders:
            recompute_activations(hollow.adaptable()[part], checkpointed)
    fresh = settings.model_copy(update={"adapter": settings.adapter.model_copy(update={"init_from": None})})
    if placements := list_placements(hollow, fresh):
        inject_adapters(hollow, placements, settings.seed)
    _put_blank_words(hollow, settings.tokens)
    mean, std = (torch.empty(rows, 1, *wanted.shape, device=META) for _ in range(2))
    conditioning = {
        name: torch.empty(rows, *v.shape[1:], dtype=v.dtype, device=META) for name, v in wanted.conditioning.items()
    }
    empty = {name: torch.empty(1, *v.shape[1:], dtype=v.dtype, device=META) for name, v in wanted.conditioning.items()}
    encoded = EncodedDataset([Bucket("", [], mean, std, conditioning)], empty)
    alone = settings.model_copy(update={"batch_size": rows, "micro_batch": None})
    share = replace(wanted.share, rank=0, world=1)
    live = _HollowText(hollow, wanted.encoding, trained=True) if wanted.reads_anew else None
    module = _HollowModule(hollow, encoded, [list(range(rows))], alone, share, live, _NoCaptions())
    module.rules = rules
    return module


def _put_blank_words(hollow: Family, tokens: Mapping[str, TokenSettings]) -> None:
    """Let the hollow encoders know words without numbers, one vector each where only `init` says how many: a tokenizer
    would tell, and a vector is a few kilobytes."""
    for part, encoder in hollow.adaptable().items() if tokens else ():
        if part != hollow.part:
            found: Any = encoder  # transformers' own method
            width = found.get_input_embeddings().weight.shape[1]
            words = {word: {part: torch.empty(one.vectors or 1, width, device=META)} for word, one in tokens.items()}
            put_words(encoder, None, part, words)
    for table in list_word_tables(hollow.adaptable()).values():
        table.learned.requires_grad_(True)


def _step(module: _HollowModule) -> None:
    rows = module.settings.batch_size
    samples = GlobalBatch(0, np.arange(rows), np.zeros(rows, np.int64))
    module.loss(samples, module.make_draws(0, samples), slice(0, rows)).backward()


def _two_rows(module: _HollowModule, peak: Peak, shape: Sequence[int]) -> int:
    """What the network holds at most for two samples without gradients."""
    conditioning = {name: value[:1].expand(2, *value.shape[1:]) for name, value in module.encoded.empty.items()}
    module.network.eval()
    before = peak.again()
    with torch.no_grad(), module.autocast():
        times = module.family.process.spread_times(np.zeros(2), module.settings.objective)
        module.family.predict(torch.empty(2, *shape, device=META), times, conditioning)
    return peak.most - before
