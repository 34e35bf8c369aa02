"""A training module on a device that is no CPU, in name only: torch's meta device, which computes shapes alone."""

from types import SimpleNamespace

import torch

from lorakiln.adapters.targets import list_target_names
from lorakiln.families import load_family
from lorakiln.families.tensor_memory import META
from lorakiln.train.adapting import put_adapter
from lorakiln.train.latents import Bucket
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.share import Share
from tests.made_facts import encoded_row

ROWS, SIZE = 5, (64, 64)


class ModuleThere(LoraModule):
    """Takes autocast's rules for the CPU, for torch has none for that device."""

    kind = "cpu"


def encode_there(family, resident):
    """Five pictures of one size, on the device or, as where they are too many for it, on the CPU."""
    text = family.encode_prompts(["a red cat"] * ROWS)
    place = family.place_conditioning((*SIZE, 0, 0, *SIZE))
    conditioning = text | {name: value.expand(ROWS, *value.shape).clone() for name, value in place.items()}
    latents = torch.zeros(ROWS, 1, *family.latent_shape(*SIZE))
    if resident:
        conditioning = {name: value.to(META) for name, value in conditioning.items()}
        latents = latents.to(META)
    rows = [encoded_row(file_name=f"{number}.png", sha256=f"{number:064x}") for number in range(ROWS)]
    bucket = Bucket("64x64", rows, latents, latents.clone(), conditioning)
    empty = {name: value[:1].to(META) for name, value in text.items()}
    return SimpleNamespace(buckets=[bucket], empty=empty, variants=1)


def make_module_there(model, settings, resident=True, share=None):
    """With the network there, and the text encoders once they have read the captions."""
    family = load_family(model, ("text", "network"))
    told = encode_there(family, resident)
    for name in ("network", "text_encoder", "text_encoder_2"):
        if hasattr(family, name):
            getattr(family, name).to(META)
    family.device, family.process = META, family.process.to(META)
    put_adapter(family, settings.adapter, list_target_names(family, settings.adapter.targets), settings.seed)
    if settings.trainer.gradient_checkpointing:
        family.network.enable_gradient_checkpointing()
    return ModuleThere(family, told, [list(range(ROWS - 1))], settings, share or Share())


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
