"""A device that is no CPU, in name only: every tensor that a family leaves behind on the CPU raises there.

Torch's meta device computes shapes alone, and refuses operations between its tensors and the CPU's as CUDA does.
"""

import pytest
import torch
from transformers import CLIPTokenizer

from lorakiln.families import load_family
from lorakiln.families.reading import Reading
from lorakiln.schema.model import ModelSettings
from tests.conftest import END
from tests.families.reduced import KINDS, write_reduced

META = torch.device("meta")
MODULES = ("vae", "text_encoder", "text_encoder_2", "network")
PROMPTS = ["a red cat", "", "blue " * 40]


@pytest.fixture(scope="module", params=KINDS)
def family(tmp_path_factory, request):
    """A reduced model of each family, moved there after it was loaded."""
    kind = request.param
    folder = write_reduced(tmp_path_factory.mktemp("reduced") / kind, kind)
    settings = ModelSettings(
        family="sdxl" if kind == "sdxl" else "sd", path=str(folder), resolution=64, bucket_min=32, bucket_max=128,
        bucket_step=32, captioner={"path": "models/tiny/blip"}, clip={"path": "models/tiny/clip"},
    )  # fmt: skip
    loaded = load_family(settings)
    for name in MODULES:
        if name in loaded.__dict__:
            getattr(loaded, name).to(META)
    loaded.device = META
    loaded.alphas_cumprod = loaded.alphas_cumprod.to(META)
    return loaded


def conditioning(family, count: int) -> dict[str, torch.Tensor]:
    place = family.place_conditioning((64, 64, 0, 0, 64, 64))
    return family.encode_prompts(PROMPTS[:count]) | {
        name: value.expand(count, *value.shape) for name, value in place.items()
    }


@pytest.mark.parametrize(("kind", "pads"), [("sd15", [END]), ("sd21", ["!"]), ("sd21_v", ["!"]), ("sdxl", [END, "!"])])
def test_the_reduced_tokenizers_pad_as_the_real_ones(tmp_path, kind, pads):
    folder = write_reduced(tmp_path, kind)
    found = [CLIPTokenizer.from_pretrained(one).pad_token for one in sorted(folder.glob("tokenizer*"))]
    assert found == pads


@pytest.mark.parametrize("reading", [Reading(), Reading(clip_skip=1), Reading(chunks=3)])
def test_prompts_are_read_there(family, reading):
    for value in family.encode_prompts(PROMPTS, reading).values():
        assert value.device.type == "meta" and len(value) == len(PROMPTS)


def test_pictures_are_encoded_and_decoded_there(family):
    mean, std = family.encode_pictures(torch.zeros(2, 3, 64, 64))
    assert mean.device.type == std.device.type == "meta"
    shape = family.latent_shape(64, 64)
    assert mean.shape == (2, *shape)
    assert family.decode_latents(torch.zeros(2, *shape)).shape == (2, 3, 64, 64)


def test_noise_is_predicted_there(family):
    noisy = torch.zeros(2, *family.latent_shape(64, 64), device=META)
    predicted = family.predict(noisy, torch.tensor([3, 7]), conditioning(family, 2))
    assert predicted.device.type == "meta" and predicted.shape == noisy.shape


class Part:
    """Stands for a network that was loaded; remembers where it was sent."""

    def __init__(self) -> None:
        self.sent = []

    def to(self, device):
        self.sent.append(str(device))


@pytest.mark.parametrize(("device", "sent"), [("cuda", ["cuda", "cpu"]), ("cpu", [])])
def test_what_draws_is_on_the_device_only_while_it_draws(micro_model, device, sent):
    loaded = load_family(micro_model)
    loaded.device, loaded.vae, loaded.text_encoder = torch.device(device), Part(), Part()
    with pytest.raises(RuntimeError, match="no memory"), loaded.drawing():
        assert loaded.vae.sent == loaded.text_encoder.sent == sent[:1]
        raise RuntimeError("no memory")
    assert loaded.vae.sent == loaded.text_encoder.sent == sent
    assert next(loaded.network.parameters()).device.type == "cpu"  # the network stays where it trains


def test_what_is_not_loaded_does_not_move(micro_model):
    loaded = load_family(micro_model, ("network",))
    loaded.device = torch.device("cuda")
    with loaded.drawing():
        assert "vae" not in loaded.__dict__
