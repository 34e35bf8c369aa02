"""Against diffusers' own blocks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from lorakiln.families.sd.blocks import REPLACED, Upsample, join_kernel, replace_blocks
from tests.families.sd.unets import KINDS, make_inputs, make_unet

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FORMATS = (torch.contiguous_format, torch.channels_last)


def replaced(module):
    found = copy.deepcopy(module)
    replace_blocks(found, CPU)
    return found


def without_upsampling(module):
    """The blocks of `replaced`, and diffusers' upsampling, which alone rounds otherwise."""
    found = replaced(module)
    for one in found.modules():
        if type(one) is Upsample:
            one.__class__ = Upsample2D
    return found


@pytest.fixture(params=KINDS)
def unet(request):
    return make_unet(request.param)


def test_every_block_of_stable_diffusion_is_replaced(unet):
    assert not {type(module) for module in replaced(unet).modules()} & set(REPLACED)
    assert {type(module) for module in unet.modules()} >= set(REPLACED)
    assert replaced(unet).state_dict().keys() == unet.state_dict().keys()


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_gives_diffusers_bits(unet, form):
    unet.to(memory_format=form)
    told = make_inputs(unet, 2)
    with torch.no_grad():
        expected = unet(**told)[0]
        torch.testing.assert_close(replaced(unet)(**told)[0], expected, rtol=1e-5, atol=1e-5)
        found = without_upsampling(unet)(**told)[0]
    # In another memory format sums are made in another order.
    close = {"rtol": 0, "atol": 0} if form is torch.contiguous_format else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_diffusers_bits(unet, checkpointing):
    gradients = []
    for network in (copy.deepcopy(unet), replaced(unet)):
        weight = network.down_blocks[1].resnets[0].conv1.weight.requires_grad_()
        bias = network.mid_block.attentions[0].transformer_blocks[0].attn2.to_out[0].bias.requires_grad_()
        if checkpointing:
            network.train().enable_gradient_checkpointing()
        network(**make_inputs(network, 2))[0].square().sum().backward()
        gradients.append((weight.grad, bias.grad))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


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
    found = replaced(vae)
    with torch.no_grad():
        assert torch.equal(found.encode(pixels).latent_dist.mean, vae.encode(pixels).latent_dist.mean)
        torch.testing.assert_close(found.decode(latents).sample, vae.decode(latents).sample, rtol=1e-5, atol=1e-5)


def test_what_asks_for_more_is_diffusers_own(unet):
    """Masks, another attention's processor, a dictionary as the answer, another size after the upsampling."""
    found = replaced(unet)
    told = make_inputs(unet, 2)
    mask = torch.ones(2, told["encoder_hidden_states"].shape[1])
    mask[:, 3:] = 0
    with torch.no_grad():
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
        block = ResnetBlock2D(in_channels=8, temb_channels=8, groups=4, **given)
        replace_blocks(block, CPU)
        assert type(block) is ResnetBlock2D, given
    for given in ({"use_conv": False}, {"use_conv": True, "kernel_size": 1, "padding": 0}):
        upsample = Upsample2D(8, **given)
        replace_blocks(upsample, CPU)
        assert type(upsample) is Upsample2D, given


@pytest.fixture
def upsample():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Upsample2D(8, use_conv=True, out_channels=6).requires_grad_(False)
    replace_blocks(made, CPU)
    return made


def joined(upsample, states, grad=False, **given):
    """What it gives, and whether the transposed convolution made it."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "conv_transpose2d", lambda *args, **named: calls.append(1) or real(*args, **named))
        with torch.set_grad_enabled(grad):
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


def test_a_weight_that_is_written_to_is_joined_anew(upsample):
    states = torch.randn(1, 8, 3, 3)
    before, _ = joined(upsample, states)
    again, _ = joined(upsample, states)
    assert torch.equal(before, again)
    with torch.no_grad():
        upsample.conv.weight.copy_(2 * upsample.conv.weight)
    bias = upsample.conv.bias[:, None, None]
    torch.testing.assert_close(joined(upsample, states)[0] - bias, 2 * (before - bias), rtol=1e-5, atol=1e-5)


def test_an_adapters_convolution_and_other_precisions_are_not_joined(upsample):
    states = torch.randn(1, 8, 3, 3)
    plain, _ = joined(upsample, states)
    assert joined(upsample, states, output_size=(6, 6))[1] and not joined(upsample, states, output_size=(6, 5))[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert not joined(upsample, states)[1]
    assert not joined(copy.deepcopy(upsample).bfloat16(), states.bfloat16())[1]
    assert not joined(upsample, states, grad=True)[1]
    for_gpu = copy.deepcopy(upsample)
    for_gpu.__class__ = Upsample2D
    replace_blocks(for_gpu, GPU)
    assert type(for_gpu) is Upsample and not joined(for_gpu, states)[1]
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
