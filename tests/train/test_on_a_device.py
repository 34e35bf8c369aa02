"""A training step, validation and samples on a device that is no CPU, in name only: a tensor left behind raises there.

Torch's meta device computes shapes alone; `strict_device` makes it refuse what CUDA refuses.
"""

import pytest
import torch

from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.tensor_memory import META
from lorakiln.lora_files.merging import Merged
from lorakiln.sampling import DrawJob, draw
from lorakiln.train.share import Share
from lorakiln.train.validation import compute_validation_loss
from tests.families.reduced import KINDS, write_reduced
from tests.families.test_devices import reduced_settings
from tests.lora_files.conftest import random_adapter
from tests.strict_device import StrictDevice
from tests.train.module_there import ROWS, SIZE, make_module_there, train_there

OPTIONS = [
    {},
    {"micro_batch": 1},
    {"adapter": {"dropout": 0.5}},
    {"adapter": {"targets": "locon"}},
    {"objective": {"caption_dropout": 0.5}},
    {"objective": {"min_snr_gamma": 5.0, "kind": "huber"}},
    {"objective": {"noise_offset": 0.1, "min_timestep": 10, "max_timestep": 500}},
    {"trainer": {"gradient_checkpointing": True}},
    {"optimizer": {"lr": 1e-3, "part_lrs": {"mid_block": 1e-4}}, "max_grad_norm": None},
    {"share": Share(fp16=True), "ema": {"decay": 0.99}, "micro_batch": 1},
]
# Of a dataset that is not on the device.
ON_THE_CPU = [{"objective": {"caption_dropout": 0.5}, "micro_batch": 1}]


@pytest.fixture(scope="module", params=KINDS)
def model(tmp_path_factory, request):
    # Fewer layers of each sort than SDXL has: what is done with tensors is the same in each.
    folder = write_reduced(tmp_path_factory.mktemp("reduced") / request.param, request.param, layers=(1, 1, 2))
    return reduced_settings(folder, request.param)


@pytest.fixture(autouse=True)
def device():
    with StrictDevice() as strict, strict.reading_zeros():
        yield strict


@pytest.fixture
def make_there(model, make_settings):
    """A training module whose network is on the meta device."""

    def make(resident=True, share=None, **changes):
        return make_module_there(model, make_settings(**{"batch_size": 2, **changes}), resident, share)

    return make


@pytest.mark.parametrize(
    ("resident", "changes"), [*((True, one) for one in OPTIONS), *((False, one) for one in ON_THE_CPU)], ids=str
)
def test_a_step_is_trained_there_and_waits_for_nothing(make_there, device, changes, resident):
    module = make_there(resident, **changes)
    device.waits.clear()
    train_there(module)
    assert device.waits == []
    module.quarter_losses.read()
    module.step_losses.read()
    assert len(module.step_losses.losses) == 1


def test_the_loss_is_validated_there(make_there):
    module = make_there(resident=False)
    assert compute_validation_loss(module, [[ROWS - 1]]) == 0


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_samples_are_denoised_there_and_no_step_waits_for_the_one_before(make_there, device, guidance):
    family = make_there().family
    decoded = []
    family.decode_latents = lambda latents: decoded.append(latents) or torch.zeros(len(latents), 3, *SIZE, device=META)
    jobs = [DrawJob("a red cat", seed, *SIZE) for seed in (0, 1)]
    waits = []
    for steps in (3, 6):
        device.waits.clear()
        pictures = list(draw(family, jobs, steps, guidance, "blue", batch_size=2, encoding=PromptEncoding(clip_skip=2)))
        assert [picture.size for picture in pictures] == [SIZE, SIZE] and decoded[0].is_meta
        waits.append(len(device.waits))
    assert waits[0] == waits[1]
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
