"""A device that is no CPU, in name only: every tensor that a family leaves behind on the CPU raises there.

Torch's meta device computes shapes alone; `strict_device` makes it refuse what CUDA refuses.
"""

import pytest
import torch
from transformers import CLIPTokenizer

from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import choose_text_dtype
from lorakiln.schema.model import ModelSettings
from tests.conftest import END
from tests.families.reduced import KINDS, write_reduced
from tests.strict_device import StrictDevice

META = torch.device("meta")
MODULES = ("vae", "text_encoder", "text_encoder_2", "network")
ALL = ("vae", "text", "network")
PROMPTS = ["a red cat", "", "blue " * 40]


def reduced_settings(folder, kind: str) -> ModelSettings:
    return ModelSettings(
        family="sdxl" if kind == "sdxl" else "sd",
        path=str(folder),
        resolution=64,
        bucket_min=32,
        bucket_max=128,
        bucket_step=32,
        captioner={"path": "models/tiny/blip"},
        clip={"path": "models/tiny/clip"},
    )


@pytest.fixture(autouse=True)
def strict():
    with StrictDevice():
        yield


@pytest.fixture(scope="module", params=KINDS)
def family(tmp_path_factory, request):
    """A reduced model of each family, moved there after it was loaded."""
    kind = request.param
    loaded = load_family(reduced_settings(write_reduced(tmp_path_factory.mktemp("reduced") / kind, kind), kind))
    for name in MODULES:
        if name in loaded.__dict__:
            getattr(loaded, name).to(META)
    loaded.device = META
    loaded.process = loaded.process.to(META)
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


@pytest.mark.parametrize("encoding", [PromptEncoding(), PromptEncoding(clip_skip=2), PromptEncoding(chunks=3)])
def test_prompts_are_read_there(family, encoding):
    for value in family.encode_prompts(PROMPTS, encoding).values():
        assert value.device.type == "meta" and len(value) == len(PROMPTS)


def test_pictures_are_encoded_and_decoded_there(family):
    mean, std = family.encode_pictures(torch.zeros(2, 3, 64, 64))
    assert mean.device.type == std.device.type == "meta"
    shape = family.latent_shape(64, 64)
    assert mean.shape == (2, *shape)
    assert family.decode_latents(torch.zeros(2, *shape)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize(("device", "expected"), [("meta", [1, 1, 1]), ("cpu", [3])])
@pytest.mark.parametrize("hollow", [False, True])
def test_the_vae_takes_one_picture_at_a_time_there(micro_model, device, expected, hollow):
    # Eight of 1024 pixels at once need 22 GB to encode and 29 GB to decode.
    family = load_family(micro_model, ("vae",), torch.device(device))
    if hollow:
        family = family.hollow(("vae",))
    sizes = {"encoder": [], "decoder": []}
    for name, seen in sizes.items():
        part = getattr(family.vae, name)
        part.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0])))
    family.encode_pictures(torch.zeros(3, 3, 32, 32))
    family.decode_latents(torch.zeros(3, *family.latent_shape(32, 32)))
    assert sizes == {"encoder": expected, "decoder": expected}


def test_noise_is_predicted_there(family):
    noisy = torch.zeros(2, *family.latent_shape(64, 64), device=META)
    predicted = family.predict(noisy, torch.tensor([3, 7]), conditioning(family, 2))
    assert predicted.device.type == "meta" and predicted.shape == noisy.shape


class Part:
    """Stands for a part that was loaded: remembers where it was sent, and has no memory to work with."""

    def __init__(self, kept=None) -> None:
        self.sent, self.config = [], getattr(kept, "config", None)

    def to(self, device):
        self.sent.append(str(device))

    def encode(self, pixels):
        raise RuntimeError("no memory")

    decode = __call__ = lambda self, *args, **more: self.encode(args)


@pytest.mark.parametrize(("device", "sent"), [("meta", ["cpu", "meta", "cpu"]), ("cpu", [])])
@pytest.mark.parametrize("worker", ["vae", "text_encoder"])
def test_what_rests_is_on_the_device_only_while_it_works(micro_model, device, sent, worker):
    loaded = load_family(micro_model)
    loaded.device = torch.device(device)
    loaded.vae, loaded.text_encoder = parts = Part(loaded.vae), Part(loaded.text_encoder)
    loaded.rest()
    with pytest.raises(RuntimeError, match="no memory"):
        if worker == "vae":
            loaded.encode_pictures(torch.zeros(1, 3, 32, 32))
        else:
            loaded.encode_prompts(["a cat"])
    at_work, idle = parts if worker == "vae" else parts[::-1]
    assert (at_work.sent, idle.sent) == (sent, sent[:1])
    assert next(loaded.network.parameters()).device.type == "cpu"  # the network stays where it trains


def test_a_part_that_is_kept_present_moves_once_for_many_calls(micro_model):
    loaded = load_family(micro_model)
    loaded.device, loaded.text_encoder = META, Part(loaded.text_encoder)
    loaded.rest()
    with loaded.present("text"):
        for _ in range(3):
            with pytest.raises(RuntimeError, match="no memory"):
                loaded.encode_prompts(["a cat"])
        assert loaded.text_encoder.sent == ["cpu", "meta"]
    assert loaded.text_encoder.sent == ["cpu", "meta", "cpu"]


def test_what_is_not_loaded_does_not_move(micro_model):
    loaded = load_family(micro_model, ("network",))
    loaded.device = META
    loaded.rest()
    assert "vae" not in loaded.__dict__


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parts_keep_their_own_precision_under_the_networks_autocast(micro_model, dtype):
    loaded = load_family(micro_model, dtype=torch.bfloat16, text_dtype=dtype)
    assert {p.dtype for p in loaded.text_encoder.parameters()} == {dtype}
    assert {p.dtype for p in loaded.vae.parameters()} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        told = loaded.encode_prompts(["a cat"])["prompt_embeds"]
    assert told.dtype == dtype and torch.equal(told, loaded.encode_prompts(["a cat"])["prompt_embeds"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_reads_prompts_as_single_does(tmp_path, kind, dtype, near):
    settings = reduced_settings(write_reduced(tmp_path / kind, kind), kind)
    single = load_family(settings, ("text",)).encode_prompts(PROMPTS)
    half = load_family(settings, ("text",), text_dtype=dtype).encode_prompts(PROMPTS)
    for name, value in single.items():
        error = (half[name].float() - value).norm() / value.norm()
        assert 0 < error < near, name


def test_a_gpu_reads_prompts_in_half_precision():
    assert choose_text_dtype(torch.device("cuda")) is torch.float16
    assert choose_text_dtype(torch.device("cpu")) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_hollow_family_has_the_parts_shapes_and_types(tmp_path, kind):
    settings = reduced_settings(write_reduced(tmp_path / kind, kind), kind)
    precise = {"dtype": torch.bfloat16, "text_dtype": torch.float16}
    loaded, hollow = load_family(settings, **precise), load_family(settings, (), **precise).hollow(ALL)
    for name in (one for one in MODULES if one in loaded.__dict__):
        true, made = (getattr(one, name).state_dict() for one in (loaded, hollow))
        assert {key: (v.shape, v.dtype) for key, v in made.items()} == {k: (v.shape, v.dtype) for k, v in true.items()}
        assert {value.device.type for value in made.values()} == {"meta"}
    assert hollow.device == META and hollow.target_modules("locon") == loaded.target_modules("locon")


def test_a_hollow_family_has_no_other_part(micro_model):
    hollow = load_family(micro_model).hollow(("network",))
    with pytest.raises(AttributeError, match="without its part 'vae'"):
        _ = hollow.vae
