"""Against diffusers' own blocks."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from lorakiln.families.sd.blocks import REPLACED, Upsample, join_kernel, replacing_blocks
from tests.families.sd.unets import KINDS, make_inputs, make_unet

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@contextlib.contextmanager
def replaced(module):
    """A copy of a module with our blocks."""
    found = copy.deepcopy(module)
    with replacing_blocks(found):
        yield found


@contextlib.contextmanager
def without_upsampling(module):
    """The blocks of `replaced`, and diffusers' upsampling, which alone rounds otherwise."""
    with replaced(module) as found:
        for one in found.modules():
            if type(one) is Upsample:
                one.__class__ = Upsample2D
        yield found


@pytest.fixture(params=KINDS)
def unet(request):
    return make_unet(request.param)


def test_every_block_of_stable_diffusion_is_replaced_and_put_back(unet):
    before = [type(module) for module in unet.modules()]
    with replaced(unet) as found:
        assert not {type(module) for module in found.modules()} & set(REPLACED)
        assert found.state_dict().keys() == unet.state_dict().keys()
        found(**make_inputs(unet, 2))
    assert set(before) >= set(REPLACED)
    assert [type(module) for module in found.modules()] == before
    assert [module.__dict__.keys() for module in found.modules()] == [one.__dict__.keys() for one in unet.modules()]


def test_an_error_puts_diffusers_blocks_back(unet):
    before = [type(module) for module in unet.modules()]
    with pytest.raises(RuntimeError, match="stop"), replacing_blocks(unet):
        raise RuntimeError("stop")
    assert [type(module) for module in unet.modules()] == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_gives_diffusers_bits(unet, form):
    unet.to(memory_format=form)
    told = make_inputs(unet, 2)
    expected = unet(**told)[0]
    with replaced(unet) as network:
        torch.testing.assert_close(network(**told)[0], expected, rtol=1e-5, atol=1e-5)
    # In another memory format sums are made in another order.
    close = {"rtol": 0, "atol": 0} if form is torch.contiguous_format else {"rtol": 1e-5, "atol": 1e-5}
    with without_upsampling(unet) as network:
        torch.testing.assert_close(network(**told)[0], expected, **close)


def test_a_vae_decodes_and_encodes_as_diffusers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
        ).requires_grad_(False)
        latents, pixels = torch.randn(2, 4, 4, 4), torch.randn(2, 3, 8, 8)
    with replaced(vae) as found:
        assert torch.equal(found.encode(pixels).latent_dist.mean, vae.encode(pixels).latent_dist.mean)
        torch.testing.assert_close(found.decode(latents).sample, vae.decode(latents).sample, rtol=1e-5, atol=1e-5)


def test_what_asks_for_more_is_diffusers_own(unet):
    """Masks, another attention's processor, a dictionary as the answer, another size after the upsampling."""
    told = make_inputs(unet, 2)
    mask = torch.ones(2, told["encoder_hidden_states"].shape[1])
    mask[:, 3:] = 0
    with replaced(unet) as found:
        plain = unet(**told)[0]
        expected = unet(**told, encoder_attention_mask=mask)[0]
        masked = found(**told, encoder_attention_mask=mask)[0]
        assert not torch.allclose(expected, plain, atol=1e-3)
        torch.testing.assert_close(masked, expected, rtol=1e-5, atol=1e-5)
        odd = told | {"sample": told["sample"][..., :7, :6]}
        torch.testing.assert_close(found(**odd)[0], unet(**odd)[0], rtol=1e-5, atol=1e-5)
        transformer = found.mid_block.attentions[0]
        states = torch.randn(2, 16, 2, 2)
        texts = told["encoder_hidden_states"]
        tuple_of = transformer(states, texts, return_dict=False)[0]
        torch.testing.assert_close(transformer(states, texts).sample, tuple_of)
        asked = []

        class Watched(AttnProcessor):
            def __call__(self, attn, *args, **given):
                asked.append(attn)
                return super().__call__(attn, *args, **given)

        transformer.transformer_blocks[0].attn1.set_processor(Watched())
        torch.testing.assert_close(transformer(states, texts, return_dict=False)[0], tuple_of, rtol=1e-5, atol=1e-5)
        assert asked


def test_blocks_with_other_settings_stay_diffusers():
    for given in ({"output_scale_factor": 2.0}, {"time_embedding_norm": "scale_shift"}, {"non_linearity": "gelu"}):
        with replaced(ResnetBlock2D(in_channels=8, temb_channels=8, groups=4, **given)) as block:
            assert type(block) is ResnetBlock2D, given
    for given in ({"use_conv": False}, {"use_conv": True, "kernel_size": 1, "padding": 0}):
        with replaced(Upsample2D(8, **given)) as upsample:
            assert type(upsample) is Upsample2D, given


@pytest.fixture
def upsample():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Upsample2D(8, use_conv=True, out_channels=6).requires_grad_(False)


def joined(upsample, states, **given):
    """What it gives while it draws, and whether the transposed convolution made it."""
    calls = []
    with pytest.MonkeyPatch.context() as patch, replacing_blocks(upsample):
        patch.setattr(F, "conv_transpose2d", lambda *args, **named: calls.append(1) or real(*args, **named))
        return upsample(states, **given), bool(calls)


real = F.conv_transpose2d


@pytest.mark.parametrize("form", FORMATS)
def test_the_joined_kernel_is_upsampling_and_convolution(upsample, form):
    upsample.to(memory_format=form)
    states = torch.randn(3, 8, 5, 4, dtype=torch.float64)
    weight, bias = upsample.conv.weight.double(), upsample.conv.bias.double()
    expected = F.conv2d(F.interpolate(states, scale_factor=2.0), weight, bias, padding=1)
    found = F.conv_transpose2d(states, join_kernel(weight), bias, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    single, used = joined(upsample, states.float().contiguous(memory_format=form))
    assert used
    torch.testing.assert_close(single, expected.float(), rtol=1e-5, atol=1e-5)


def test_a_kernel_is_joined_once_a_batch(upsample, monkeypatch):
    """A LoRA may be merged into the weight between two batches."""
    calls = []
    monkeypatch.setattr(
        "lorakiln.families.sd.blocks.join_kernel", lambda weight: calls.append(1) or join_kernel(weight)
    )
    states = torch.randn(1, 8, 3, 3)
    with replacing_blocks(upsample):
        before = upsample(states)
        assert torch.equal(upsample(states), before)
    upsample.conv.weight.mul_(2)
    with replacing_blocks(upsample):
        after = upsample(states)
    assert len(calls) == 2
    bias = upsample.conv.bias[:, None, None]
    torch.testing.assert_close(after - bias, 2 * (before - bias), rtol=1e-5, atol=1e-5)


def test_an_adapters_convolution_and_other_precisions_are_not_joined(upsample):
    states = torch.randn(1, 8, 3, 3)
    plain, _ = joined(upsample, states)
    assert joined(upsample, states, output_size=(6, 6))[1] and not joined(upsample, states, output_size=(6, 5))[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert not joined(upsample, states)[1]
    assert not joined(copy.deepcopy(upsample).bfloat16(), states.bfloat16())[1]
    hooked = copy.deepcopy(upsample)
    hooked.conv.register_forward_hook(lambda module, inputs, output: output + inputs[0].mean())
    found, used = joined(hooked, states)
    assert not used
    torch.testing.assert_close(found, plain + states.mean(), rtol=1e-5, atol=1e-5)
    wrapped = copy.deepcopy(upsample)
    wrapped.conv = nn.Sequential(wrapped.conv)
    found, used = joined(wrapped, states)
    assert not used
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
