"""The same answers with less computed."""

import contextlib
import copy

import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D

from lorakiln.families.sd.drawing import list_parts_before_text, replacing_forwards
from tests.families.sd.unets import KINDS, make_inputs, make_unet


@pytest.fixture(params=KINDS)
def unet(request):
    return make_unet(request.param)


def make_guided(network, pictures, time):
    """A call with guidance: latents and time twice, each row with a text of its own."""
    told = make_inputs(network, 2 * pictures)
    latents = torch.randn(pictures, *told["sample"].shape[1:], generator=torch.Generator().manual_seed(time))
    return told | {"sample": torch.cat([latents, latents]), "timestep": torch.full((2 * pictures,), time)}


@contextlib.contextmanager
def watching(modules):
    """How many rows each of the modules' own forwards was given, call by call."""
    seen, before = {module: [] for module in modules}, {}
    for module in modules:
        before[module] = module.forward

        def forward(states, *args, module=module, **given):
            seen[module].append(len(states))
            return before[module](states, *args, **given)

        module.forward = forward
    yield seen
    for module in modules:
        assert module.__dict__["forward"].__name__ == "forward"  # put back as it was found
        del module.forward


@torch.no_grad()
@pytest.mark.parametrize("guided", [False, True])
def test_answers_are_those_of_whole_calls(unet, guided):
    calls = [make_guided(unet, 3, time) for time in (900, 400, 7)]
    expected = [unet(**call)[0] for call in calls]
    with replacing_forwards(unet, guided):
        found = [unet(**call)[0] for call in calls]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert guided or all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not any("forward" in module.__dict__ for module in unet.modules())


@torch.no_grad()
def test_keys_and_values_of_the_text_are_computed_once(unet):
    text = [one for one in unet.modules() if isinstance(one, Attention) and one.is_cross_attention]
    read, asked = [part for one in text for part in (one.to_k, one.to_v)], [one.to_q for one in text]
    with watching([*read, *asked]) as seen:
        for _ in range(2):
            with replacing_forwards(unet, False):
                for time in (900, 400, 7):
                    unet(**make_guided(unet, 1, time))
    assert all(seen[part] == [2, 2] for part in read)  # once for each batch
    assert all(seen[part] == [2] * 6 for part in asked)


@torch.no_grad()
def test_what_comes_before_the_text_is_computed_of_half_the_rows():
    unet = make_unet("sd15")
    parts = list_parts_before_text(unet)
    names = {module: name for name, module in unet.named_modules()}
    inner = "down_blocks.0.attentions.0.transformer_blocks.0."
    assert [names[part].replace(inner, "") for part in parts] == [
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.0.attentions.0.norm",
        "down_blocks.0.attentions.0.proj_in",
        "norm1",
        "attn1",
    ]
    with watching(parts) as seen:
        with replacing_forwards(unet, True):
            unet(**make_guided(unet, 3, 5))
        with replacing_forwards(unet, False):
            unet(**make_guided(unet, 3, 5))
    assert all(rows == [3, 6] for rows in seen.values())


@torch.no_grad()
def test_a_level_without_attention_is_whole_before_the_text():
    """As the embedded base has it."""
    unet = make_unet("sdxl")
    assert list_parts_before_text(unet) == []  # the text's sum is told with the time
    unet.config.addition_embed_type = None
    names = {module: name for name, module in unet.named_modules()}
    assert [names[part] for part in list_parts_before_text(unet)][:4] == [
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.resnets.0",
    ]


def test_an_error_leaves_the_network_as_it_was(unet):
    with pytest.raises(RuntimeError, match="stop"), replacing_forwards(unet, True):
        raise RuntimeError("stop")
    assert not any("forward" in module.__dict__ for module in unet.modules())


def test_what_is_trained_stays_where_it_is(micro_family):
    """Its weights are views of one vector, which the optimizer writes to."""
    family = copy.copy(micro_family)
    family.network = copy.deepcopy(micro_family.network)
    trained = family.network.conv_out.weight.requires_grad_()
    place, steps = trained.data_ptr(), trained.stride()
    with family.drawing(True):
        pass
    assert (trained.data_ptr(), trained.stride()) == (place, steps)
    assert family.network.conv_in.weight.stride() != micro_family.network.conv_in.weight.stride()


def test_a_small_base_on_a_cpu_alone_draws_so(micro_family, monkeypatch):
    def replaced(family):
        modules = [*family.network.modules(), *family.vae.modules()]
        with family.drawing(True):
            kept = sum("forward" in module.__dict__ for module in modules)
            return kept, sum(type(module) in (ResnetBlock2D, Upsample2D) for module in family.vae.decoder.modules())

    family = copy.copy(micro_family)
    family.network = copy.deepcopy(micro_family.network)
    elsewhere = copy.copy(family)
    elsewhere.device = torch.device("cuda")
    kept, theirs = replaced(family)
    assert kept > 0 and theirs == 0
    assert family.network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    kept, theirs = replaced(elsewhere)
    assert kept == 0 and theirs > 0
    monkeypatch.setattr("lorakiln.families.sd.model.LARGE", 1000)
    assert replaced(family)[0] == 0
