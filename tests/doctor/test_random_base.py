import pytest
import torch

from lorakiln.doctor.random_base import KINDS, compute_size
from lorakiln.families import load_family
from lorakiln.tools.model_settings import make_model_settings

# Parameters of the published models: UNet, VAE, text encoders.
PUBLISHED = {
    "sd15": 859_520_964 + 83_653_863 + 123_060_480,
    "sd21": 865_910_724 + 83_653_863 + 340_387_840,
    "sdxl": 2_567_463_684 + 83_653_863 + 123_060_480 + 694_659_840,
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_its_shape_is_that_of_the_published_model(kind):
    assert compute_size(KINDS[kind]) == 2 * PUBLISHED[kind]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_a_random_base_loads_reads_and_predicts(kind, write_small):
    family = load_family(make_model_settings(str(write_small(kind))))
    assert family.facts["version"] == {"sd15": "sd_v1", "sd21": "sd_v2", "sdxl": "sdxl_base_v1-0"}[kind]
    told = family.encode_prompts(["a red cat", "a"])
    assert told["prompt_embeds"].shape == (2, 77, 64 if kind == "sdxl" else 24)
    assert not torch.equal(*told["prompt_embeds"])
    noise = torch.randn(2, *family.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    predicted = family.predict(noise, torch.tensor([10, 900]), told)
    assert predicted.isfinite().all() and 0.01 < predicted.std() < 100
    drawn = family.decode_latents(noise)
    assert drawn.isfinite().all() and drawn.std() > 0.01


def test_its_tokenizers_fill_texts_up_as_the_real_ones_do(write_small):
    family = load_family(make_model_settings(str(write_small("sdxl"))), ("text",))
    assert [family.tokenizer.pad_token, family.tokenizer_2.pad_token] == ["<|endoftext|>", "!"]
    assert [family.tokenizer.pad_token_id, family.tokenizer_2.pad_token_id] == [599, 0]
    assert len(family.tokenizer) == 600 and family.count_tokens("a red cat") == 7


def test_it_is_the_same_every_time_and_no_two_rows_are_alike(write_small, tmp_path):
    first = load_family(make_model_settings(str(write_small("sd15")))).facts["hash"]
    (tmp_path / "sd15").rename(tmp_path / "first")
    assert load_family(make_model_settings(str(write_small("sd15"))), ()).facts["hash"] == first
    weight = load_family(make_model_settings(str(tmp_path / "first")), ("network",)).network.conv_in.weight.flatten(1)
    assert len(weight.unique(dim=0)) == len(weight)
    assert weight.abs().max() <= 1 / 6 + 1e-3 and weight.abs().max() > 0.9 / 6  # 1/sqrt(4 x 3 x 3)
