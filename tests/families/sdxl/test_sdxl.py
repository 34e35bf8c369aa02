"""SDXL behind the protocol, against diffusers' own pipeline, on a reduced model of its topology."""

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from lorakiln.adapters import lora_network
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.lora_files import kohya_form
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.model import ModelSettings
from tests.adapters.networks import adapted
from tests.families.reduced import write_reduced

PROMPTS = ["a red cat", "blue", ""]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_reduced(tmp_path_factory.mktemp("reduced") / "sdxl", "sdxl")
    return ModelSettings(
        family="sdxl",
        path=str(folder),
        resolution=32,
        bucket_min=16,
        bucket_max=64,
        bucket_step=16,
        captioner={"path": "models/tiny/blip"},
        clip={"path": "models/tiny/clip"},
    )


@pytest.fixture
def family(model):
    return load_family(model)


@pytest.fixture
def reference(model):
    pipe = StableDiffusionXLPipeline.from_pretrained(
        model.path, use_safetensors=True, add_watermarker=False, force_zeros_for_empty_prompt=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_prompts_equal_diffusers(family, reference, clip_skip):
    expected, _, pooled, _ = reference.encode_prompt(
        PROMPTS, device="cpu", do_classifier_free_guidance=False, clip_skip=clip_skip - 1 or None
    )
    found = family.encode_prompts(PROMPTS, PromptEncoding(clip_skip))
    assert list(found) == ["prompt_embeds", "pooled_embeds"]
    assert torch.equal(found["prompt_embeds"], expected)
    assert torch.equal(found["pooled_embeds"], pooled)


def test_pictures_are_drawn_as_diffusers_draws_them(family, reference):
    job = DrawJob("a red cat", 3, 48, 32)
    (found,) = draw(family, [job], steps=3, guidance=4.0, batch_size=1)
    reference.scheduler = family.process.make_scheduler()
    expected = reference(
        job.prompt,
        negative_prompt="",
        width=48,
        height=32,
        num_inference_steps=3,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    difference = torch.tensor([abs(a - b) for a, b in zip(found.tobytes(), expected.tobytes(), strict=True)])
    assert difference.max() <= 1


def test_size_and_crop_change_the_prediction(family):
    generator = torch.Generator().manual_seed(0)
    latents, timesteps = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([10, 500])
    told = family.encode_prompts(PROMPTS[:2])
    plain = family.predict(latents, timesteps, told)
    whole = torch.stack([family.place_conditioning((32, 32, 0, 0, 32, 32))["time_ids"]] * 2)
    cropped = torch.stack([family.place_conditioning((300, 200, 0, 40, 32, 32))["time_ids"]] * 2)
    assert torch.equal(family.predict(latents, timesteps, {**told, "time_ids": whole}), plain)
    assert not torch.allclose(family.predict(latents, timesteps, {**told, "time_ids": cropped}), plain, atol=1e-4)


def test_the_vae_stays_in_single_precision_where_its_config_says_so(model):
    half = load_family(model, ("vae",), dtype=torch.float16)
    assert half.vae.dtype == torch.float32
    mean, _ = half.encode_pictures(torch.zeros(1, 3, 32, 32))
    assert mean.dtype == torch.float32


def test_a_lora_goes_out_in_sgm_names_and_comes_back(family, tmp_path):
    names = family.target_modules("kohya")
    lora_network.wrap(family.network, names, 4, 2.0, 0.0, seed=0)
    adapter = adapted(family.network).read()
    kohya_form.save(adapter, tmp_path / "x.safetensors", family, {})
    found = kohya_form.load(tmp_path / "x.safetensors", load_family(family_settings(family), ("network",)))
    assert set(found.layers) == {f"unet.{name}" for name in names}
    for name, layer in adapter.layers.items():
        assert torch.equal(found.layers[name].down, layer.down) and found.layers[name].alpha == 2.0


def family_settings(family):
    return ModelSettings(
        family="sdxl",
        path=family.facts["path"],
        resolution=32,
        bucket_min=16,
        bucket_max=64,
        bucket_step=16,
        captioner={"path": "x"},
        clip={"path": "x"},
    )


def test_facts(family):
    assert family.facts["family"] == "sdxl"
    assert family.facts["version"] == "sdxl_base_v1-0"
    assert len(family.facts["hash"]) == 64


def test_the_wrong_family_is_named_with_the_way_out(model, micro_model):
    with pytest.raises(UserError, match=r"this is a Stable Diffusion XL, but model.family says sd .*\n.*model=sdxl"):
        load_family(model.model_copy(update={"family": "sd"}), ())
    with pytest.raises(UserError, match=r"this is a Stable Diffusion 1.x or 2.x, but model.family says sdxl"):
        load_family(micro_model.model_copy(update={"family": "sdxl"}), ())


def test_the_refiner_is_no_base(model, tmp_path):
    import shutil

    shutil.copytree(model.path, tmp_path / "refiner", ignore=shutil.ignore_patterns("text_encoder"))
    with pytest.raises(UserError, match="this is SDXL's refiner"):
        load_family(model.model_copy(update={"path": str(tmp_path / "refiner")}), ())
