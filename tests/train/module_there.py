"""A training module on a device that is no CPU, in name only: torch's meta device, which computes shapes alone."""

import copy
from functools import cache
from types import SimpleNamespace

import torch

from lorakiln.families import load_family
from lorakiln.families.tensor_memory import META
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.train.adapter_placement import inject_adapters, list_placements
from lorakiln.train.caption_draws import CachedTextEmbeddings, DrawnTexts
from lorakiln.train.encoded_dataset import Bucket
from lorakiln.train.learned_tokens import insert_tokens
from lorakiln.train.live_text import LiveText
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.share import Share
from lorakiln.train.trained_encoders import recompute_activations
from tests.made_facts import encoded_row

ROWS, SIZE = 5, (64, 64)
TRAINED = [list(range(ROWS - 1))]
CAPTION, OTHERS = "a red cat", ("blue", "a big dog")
RULES = EncodeSettings(captions={"shuffle": True})


class ModuleThere(LoraModule):
    """Takes autocast's rules for the CPU, for torch has none for that device."""

    kind = "cpu"


def encode_there(family, resident, masked=False, drawn=None):
    """Five pictures of one size, on the device or, as where they are too many for it, on the CPU; two are there for
    regularisation.

    Args:
        drawn: how captions are drawn: "live", or "ahead"; None: they are not.
    """
    text = family.encode_prompts([CAPTION] * ROWS)
    ahead = family.encode_prompts(OTHERS) if drawn == "ahead" else {}
    place = family.place_conditioning((*SIZE, 0, 0, *SIZE))
    conditioning = text | {name: value.expand(ROWS, *value.shape).clone() for name, value in place.items()}
    latents = torch.zeros(ROWS, 1, *family.latent_shape(*SIZE))
    mask = torch.ones(ROWS, 1, *latents.shape[-2:]) if masked else None
    if resident:
        conditioning, ahead = ({name: value.to(META) for name, value in some.items()} for some in (conditioning, ahead))
        latents, mask = latents.to(META), None if mask is None else mask.to(META)
    caption = {"live": {"templates": ["red, big, cat"]}, "ahead": {"shares": [(0, 0.5), (1, 0.5)]}}.get(drawn, {})
    rows = [
        encoded_row(file_name=f"{number}.png", sha256=f"{number:064x}", text=CAPTION, is_reg=number < 2, **caption)
        for number in range(ROWS)
    ]
    bucket = Bucket("64x64", rows, latents, latents.clone(), conditioning, mask)
    empty = {name: value[:1].to(META) for name, value in text.items()}
    texts = [SimpleNamespace(text=one) for one in OTHERS] if drawn == "ahead" else []
    index = SimpleNamespace(captions=SimpleNamespace(texts=texts), made_with=lambda stage, settings: RULES)
    return SimpleNamespace(buckets=[bucket], empty=empty, variants=1, drawn=ahead, index=index)


@cache
def load_once(model):
    """The family that settings describe, given in JSON; to be copied."""
    return load_family(ModelSettings.model_validate_json(model), ("text", "network"))


def make_module_there(model, settings, resident=True, share=None, masked=False, drawn=None):
    """With the network there, and the text encoders once they have read the captions."""
    family = copy.deepcopy(load_once(model.model_dump_json()))
    told = encode_there(family, resident, masked, drawn)
    for name in ("network", "text_encoder", "text_encoder_2"):
        if hasattr(family, name):
            getattr(family, name).to(META)
    family.device, family.process = META, family.process.to(META)
    placements = list_placements(family, settings)
    if placements:
        inject_adapters(family, placements, settings.seed)
    insert_tokens(family, settings.tokens, settings.seed)
    if settings.trainer.gradient_checkpointing:
        family.network.enable_gradient_checkpointing()
        for part in placements.keys() - {family.part}:
            recompute_activations(family.adaptable()[part])
    learns = bool(placements.keys() - {family.part} or settings.tokens)
    cached = CachedTextEmbeddings(told) if drawn else None
    live = LiveText.of(family, RULES, learns) if learns or drawn == "live" else cached
    captions = DrawnTexts(told, TRAINED, settings.seed) if drawn else None
    return ModuleThere(family, told, TRAINED, settings, share or Share(), live, captions)


class Unmasked:
    """An optimizer without the mask of steps that are not finite: torch's fused ones alone know it."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self):
        self.optimizer.found_inf = None
        self.optimizer.step()


def train_there(module, steps=1):
    """The module's own steps, without Lightning's wrapper about the optimizer."""
    module.optimizers = lambda use_pl_optimizer: Unmasked(module.optimizer)
    module.on_train_start()
    for step in range(steps):
        module.training_step(step, 0)
    assert module.done == steps and module.flat.weights.is_meta and module.flat.gradients.is_meta
