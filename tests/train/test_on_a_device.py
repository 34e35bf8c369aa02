"""A training step, validation and samples on a device that is no CPU, in name only: a tensor left behind raises there.

Torch's meta device computes shapes alone; `strict_device` makes it refuse what CUDA refuses.
"""

from types import SimpleNamespace

import pytest
import torch

from lorakiln.adapters.targets import list_target_names
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.tensor_memory import META
from lorakiln.lora_files.merging import Merged
from lorakiln.sampling import DrawJob, draw
from lorakiln.train.adapting import put_adapter
from lorakiln.train.latents import Bucket
from lorakiln.train.lora_module import LoraModule, Share
from lorakiln.train.validation import compute_validation_loss
from tests.families.reduced import KINDS, write_reduced
from tests.families.test_devices import reduced_settings
from tests.lora_files.conftest import random_adapter
from tests.made_facts import encoded_row
from tests.strict_device import StrictDevice

ROWS, SIZE = 5, (64, 64)
OPTIONS = [
    {},
    {"micro_batch": 1},
    {"adapter": {"dropout": 0.5}},
    {"adapter": {"targets": "locon"}},
    {"objective": {"caption_dropout": 0.5}},
    {"objective": {"min_snr_gamma": 5.0, "kind": "huber"}},
    {"objective": {"noise_offset": 0.1, "min_timestep": 10, "max_timestep": 500}},
    {"trainer": {"gradient_checkpointing": True}},
    {"optimizer": {"lr": 1e-3, "part_lrs": {"mid_block": 1e-4}}},
]


@pytest.fixture(scope="module", params=KINDS)
def model(tmp_path_factory, request):
    return reduced_settings(
        write_reduced(tmp_path_factory.mktemp("reduced") / request.param, request.param), request.param
    )


@pytest.fixture(autouse=True)
def strict():
    with StrictDevice():
        yield


@pytest.fixture(autouse=True)
def read_zeros(monkeypatch):
    """What is brought to the CPU from there is zeros: it has no numbers."""
    for name in ("cpu", "tolist", "item", "__int__", "to"):
        real = getattr(torch.Tensor, name)

        def read(tensor, *arguments, real=real, everywhere=name != "to", **named):
            leaves = tensor.is_meta and (everywhere or "cpu" in map(str, arguments))
            return real(torch.zeros(tensor.shape, dtype=tensor.dtype) if leaves else tensor, *arguments, **named)

        monkeypatch.setattr(torch.Tensor, name, read)


def encoded_for(family, resident):
    """Five pictures of one size, on the device or, as where they are too many for it, on the CPU."""
    text = family.encode_prompts(["a red cat"] * ROWS)
    place = family.place_conditioning((*SIZE, 0, 0, *SIZE))
    conditioning = text | {name: value.expand(ROWS, *value.shape).clone() for name, value in place.items()}
    latents = torch.zeros(ROWS, 1, *family.latent_shape(*SIZE))
    device = META if resident else torch.device("cpu")
    moved = {name: value.to(device) for name, value in conditioning.items()}
    rows = [encoded_row(file_name=f"{number}.png", sha256=f"{number:064x}") for number in range(ROWS)]
    bucket = Bucket("64x64", rows, latents.to(device), latents.to(device), moved)
    empty = {name: value[:1].to(META) for name, value in text.items()}
    return SimpleNamespace(buckets=[bucket], empty=empty, variants=1)


@pytest.fixture
def make_there(model, make_settings):
    """A training module whose network is on the meta device."""

    def make(resident=True, **changes):
        changes = {"batch_size": 2, **changes}
        settings = make_settings(**changes)
        family = load_family(model, ("text", "network"))
        encoded = encoded_for(family, resident)
        put_adapter(family, settings.adapter, list_target_names(family, settings.adapter.targets), settings.seed)
        if settings.trainer.gradient_checkpointing:
            family.network.enable_gradient_checkpointing()
        for part in (
            family.network,
            *(getattr(family, n) for n in ("text_encoder", "text_encoder_2") if hasattr(family, n)),
        ):
            part.to(META)
        family.device, family.process = META, family.process.to(META)
        return LoraModule(family, encoded, [list(range(ROWS - 1))], settings, Share())

    return make


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_a_step_is_trained_there(make_there, changes):
    step_there(make_there(**changes))


def test_a_step_is_trained_there_from_a_dataset_on_the_cpu(make_there):
    step_there(make_there(resident=False, objective={"caption_dropout": 0.5}))


def step_there(module):
    module.network.train()
    module.flat.gather_gradients()
    samples = module.schedule(0)
    draws = module._draws(0, samples)
    micro = module.settings.micro_batch or module.settings.batch_size
    for at in range(0, module.settings.batch_size, micro):
        loss = module.loss(samples, draws, slice(at, at + micro))
        assert loss.is_meta
        loss.backward()
        module.flat.gradients[-1] += loss.detach()
    assert module.flat.gradients.is_meta and module.flat.weights.is_meta
    norm = torch.linalg.vector_norm(module.flat.gradients[:-1])
    assert module.readings.push(0, module.flat.gradients[-1].clone(), norm).is_meta
    module.optimizer.step()
    module.quarters.read()
    module.readings.read()
    assert len(module.readings.losses) == 1


def test_the_loss_is_validated_there(make_there):
    module = make_there(resident=False)
    assert compute_validation_loss(module, [[ROWS - 1]]) == 0


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_samples_are_denoised_there(make_there, guidance):
    family = make_there().family
    decoded = []
    family.decode_latents = lambda latents: decoded.append(latents) or torch.zeros(len(latents), 3, *SIZE, device=META)
    jobs = [DrawJob("a red cat", seed, *SIZE) for seed in (0, 1)]
    pictures = list(draw(family, jobs, 3, guidance, "blue", batch_size=2, encoding=PromptEncoding(clip_skip=2)))
    assert [picture.size for picture in pictures] == [SIZE, SIZE] and decoded[0].is_meta
    start = torch.zeros(1, *family.latent_shape(*SIZE), device=META)
    assert len(list(draw(family, jobs, 4, guidance, batch_size=2, start=start, strength=0.5))) == 2


def test_a_lora_is_put_on_and_taken_off_there(model):
    """As `evaluate` and `generate` do it; the base's weights are kept on the CPU."""
    family = load_family(model, ("text", "network"))
    adapter = random_adapter(family)
    networks = family.adaptable()
    for network in networks.values():
        network.to(META)
    family.device, family.process = META, family.process.to(META)
    merged = Merged(networks, adapter)
    for weight in (1.0, 0.0, 0.5):
        merged.set_weights(weight)
    family.decode_latents = lambda latents: torch.zeros(len(latents), 3, *SIZE, device=META)
    assert len(list(draw(family, [DrawJob("a red cat", 0, *SIZE)], 2, 5.0, batch_size=1))) == 1
    assert all(parameter.is_meta for parameter in networks["unet"].parameters())
