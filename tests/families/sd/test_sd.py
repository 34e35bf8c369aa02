"""Stable Diffusion behind the protocol, against diffusers' own pipeline."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.sd.presets import list_attention_modules, list_kohya_modules
from tests.conftest import SCHEDULER, write_micro_model, write_text
from tests.families.sd.conftest import edit

PROMPTS = ["a red cat", "blue", ""]


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_prompts_equal_diffusers(micro_model, clip_skip):
    reference = StableDiffusionPipeline.from_pretrained(micro_model.path, use_safetensors=True, safety_checker=None)
    # diffusers 0.42 looks for a level that transformers 5 dropped.
    object.__setattr__(reference.text_encoder, "text_model", reference.text_encoder)
    expected, _ = reference.encode_prompt(PROMPTS, "cpu", 1, False, clip_skip=clip_skip - 1 or None)
    found = load_family(micro_model, ("text",)).encode_prompts(PROMPTS, PromptEncoding(clip_skip))
    assert list(found) == ["prompt_embeds"]
    assert torch.equal(found["prompt_embeds"], expected)


def test_clip_skip_changes_the_embeddings(micro_family):
    plain, skipped = (micro_family.encode_prompts(["a cat"], PromptEncoding(skip))["prompt_embeds"] for skip in (1, 2))
    assert (plain - skipped).abs().max() > 0.01


def test_clip_skip_beyond_the_layers_is_refused(micro_family):
    with pytest.raises(UserError, match="only 3 layers"):
        micro_family.encode_prompts(["a"], PromptEncoding(4))


def test_pictures_are_encoded_as_diffusers_does(micro_family):
    pixels = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = micro_family.encode_pictures(pixels)
    with torch.no_grad():
        posterior = micro_family.vae.encode(pixels).latent_dist
    assert mean.shape == std.shape == (2, *micro_family.latent_shape(48, 32)) == (2, 4, 8, 12)
    assert torch.equal(mean, posterior.mean * 0.5)
    assert torch.allclose(std, torch.exp(0.5 * posterior.logvar) * 0.5)


def test_decoding_inverts_the_scale(micro_family):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = micro_family.vae.decode(latents / 0.5).sample
    assert torch.equal(micro_family.decode_latents(latents), expected)


def test_prediction_is_the_networks(micro_family):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    steps, conditioning = torch.tensor([3, 900]), micro_family.encode_prompts(["a", "b"])
    found = micro_family.predict(latents, steps, conditioning)
    assert torch.equal(found, micro_family.network(latents, steps, conditioning["prompt_embeds"]).sample)


def test_bfloat16_weights_take_and_give_float32(micro_model, micro_family):
    half = load_family(micro_model, dtype=torch.bfloat16)
    latents, steps = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    found = half.predict(latents, steps, half.encode_prompts(["a cat"]))
    expected = micro_family.predict(latents, steps, micro_family.encode_prompts(["a cat"]))
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16} and found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.05) and not torch.equal(found, expected)


def test_noise_schedule(micro_family):
    # scaled_linear: betas are squares of evenly spaced roots (Rombach et al. 2022).
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - betas, 0)
    assert micro_family.process.alphas_cumprod.dtype == torch.float32
    assert torch.allclose(micro_family.process.alphas_cumprod.double(), expected, rtol=1e-4)


def test_v_prediction_is_read_from_the_scheduler(copy):
    write_text(Path(copy.path) / "scheduler/scheduler_config.json", SCHEDULER | {"prediction_type": "v_prediction"})
    family = load_family(copy, ())
    assert family.process.prediction_type == family.facts["prediction_type"] == "v_prediction"
    assert family.facts["version"] == "sd_v1_v"


def test_only_the_parts_asked_for_are_there(micro_model):
    family = load_family(micro_model, ("vae",))
    assert family.latent_shape(32, 32) == (4, 8, 8)
    for name, part in (("network", "network"), ("text_encoder", "text"), ("tokenizer", "text")):
        with pytest.raises(AttributeError, match=f"without its part '{part}'"):
            getattr(family, name)


def test_everything_is_frozen_and_in_evaluation_mode(micro_family):
    for module in (micro_family.vae, micro_family.text_encoder, micro_family.network):
        assert not module.training and not any(p.requires_grad for p in module.parameters())


def test_tokens(micro_family):
    assert micro_family.max_tokens == 30
    assert micro_family.count_tokens("") == 0
    assert micro_family.count_tokens("red blue cat") == 3
    assert micro_family.unread("red " * 30) == ""
    assert micro_family.unread("red " * 30 + "blue cat") == "blue cat"
    cut = micro_family.encode_prompts(["red " * 30, "red " * 30 + "blue cat"])["prompt_embeds"]
    assert torch.equal(cut[0], cut[1])
    assert micro_family.count_tokens("☃ 猫 é") > 0


def test_targets_of_stable_diffusion_1_5():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
    attention, kohya = list_attention_modules(unet), list_kohya_modules(unet)
    assert (len(attention), len(kohya)) == (128, 192)
    assert set(attention) < set(kohya) and attention == sorted(attention)
    first = "down_blocks.0.attentions.0"
    assert {f"{first}.proj_in", f"{first}.transformer_blocks.0.ff.net.0.proj"} <= set(kohya)


def test_presets(micro_family):
    assert len(micro_family.target_modules("attention")) == 8 * 4
    assert len(micro_family.target_modules("kohya")) == 12 * 4
    with pytest.raises(UserError, match="attention, kohya"):
        micro_family.target_modules("all")


def test_kohya_names(micro_family):
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    name = micro_family.kohya_name
    assert name(f"unet.{block}.attn1.to_out.0") == "lora_unet_" + block.replace(".", "_") + "_attn1_to_out_0"
    expected = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    assert name("text_encoder.encoder.layers.0.self_attn.q_proj") == expected
    assert name("text_encoder.text_model.encoder.layers.0.self_attn.q_proj") == expected
    with pytest.raises(ValueError, match="vae"):
        name("vae.encoder")


def test_identity_follows_the_content(micro_model, micro_family, copy, tmp_path):
    assert load_family(copy, ()).facts["hash"] == micro_family.facts["hash"]
    write_micro_model(tmp_path / "other", seed=1)
    other = micro_model.model_copy(update={"path": str(tmp_path / "other")})
    swapped = micro_model.model_copy(update={"vae": str(tmp_path / "other/vae")})
    hashes = {load_family(model, ()).facts["hash"] for model in (micro_model, other, swapped)}
    assert len(hashes) == 3
    edit(Path(copy.path) / "scheduler/scheduler_config.json", prediction_type="v_prediction")
    assert load_family(copy, ()).facts["hash"] != micro_family.facts["hash"]


def test_another_vae(micro_model, micro_family, tmp_path):
    write_micro_model(tmp_path / "other", seed=1)
    for vae in ("other", "other/vae"):
        family = load_family(micro_model.model_copy(update={"vae": str(tmp_path / vae)}))
        weights = load_file(tmp_path / "other/vae/diffusion_pytorch_model.safetensors")
        assert all(torch.equal(value, weights[name]) for name, value in family.vae.state_dict().items())
        assert torch.equal(family.network.conv_in.weight, micro_family.network.conv_in.weight)


def test_text_encoders_saved_by_older_transformers_load(copy, micro_family):
    file = Path(copy.path) / "text_encoder/model.safetensors"
    save_file({f"text_model.{name}": value for name, value in load_file(file).items()}, file, {"format": "pt"})
    found = load_family(copy, ("text",)).encode_prompts(PROMPTS)
    assert torch.equal(found["prompt_embeds"], micro_family.encode_prompts(PROMPTS)["prompt_embeds"])


def test_variant(copy, micro_family):
    for file in list(Path(copy.path).rglob("*.safetensors")):
        file.rename(file.with_name(file.stem + ".fp16.safetensors"))
    with pytest.raises(UserError, match="set model.variant"):
        load_family(copy)
    family = load_family(copy.model_copy(update={"variant": "fp16"}))
    assert torch.equal(family.network.conv_in.weight, micro_family.network.conv_in.weight)


def test_the_hub_is_asked_for_what_is_needed_and_no_more(micro_model, micro_family, tmp_path, monkeypatch):
    local = Path(micro_model.path)
    needed = {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}
    others = {
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/model.fp16.safetensors",
        "safety_checker/model.safetensors",
        "text_encoder/pytorch_model.bin",
        "vae/diffusion_pytorch_model.bin",
    }

    def download(name, revision, allow_patterns):
        assert (name, revision) == ("owner/name", "v1")
        assert set(filter_repo_objects(needed | others, allow_patterns=allow_patterns)) == needed
        return str(local)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = micro_model.model_copy(update={"path": "owner/name", "revision": "v1"})
    facts = load_family(model, ("vae",)).facts
    assert facts == micro_family.facts | {"path": "owner/name", "revision": "v1"}


def test_pipeline_draws_without_noise_of_its_own(micro_family):
    pipeline = micro_family.pipeline()
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler" and pipeline.safety_checker is None
    assert pipeline.scheduler.config.steps_offset == 1 and not pipeline.scheduler.config.clip_sample
    draw = [
        pipeline("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt").images
        for _ in range(2)
    ]
    assert torch.equal(*draw)


def test_sizes_that_the_vae_cannot_take(micro_family):
    with pytest.raises(UserError, match="30x32"):
        micro_family.latent_shape(30, 32)


def test_another_generation_of_the_family_is_refused_with_its_settings(copy):
    assert load_family(copy.model_copy(update={"architecture": "sd1"}), ()).facts["version"] == "sd_v1"
    expected = r"this is a Stable Diffusion 1.x model, but model.architecture says Stable Diffusion 2.x"
    with pytest.raises(UserError, match=rf"{expected}.*\n.*use model=sd15 with model.path="):
        load_family(copy.model_copy(update={"architecture": "sd2"}), ())
    edit(Path(copy.path) / "unet/config.json", use_linear_projection=True)
    with pytest.raises(UserError, match=r"this is a Stable Diffusion 2.x model.*\n.*use model=sd21 or model=sd21_v"):
        load_family(copy.model_copy(update={"architecture": "sd1"}), ())


def test_a_folder_without_the_variant_gives_what_it_has(copy):
    """People's own copies have one set of weights; the settings of a family name the hub's."""
    kept = load_family(copy, ("network",))
    asked = load_family(copy.model_copy(update={"variant": "fp16"}), ("network",))
    assert asked.facts["hash"] == kept.facts["hash"]
    assert torch.equal(asked.network.conv_in.weight, kept.network.conv_in.weight)
