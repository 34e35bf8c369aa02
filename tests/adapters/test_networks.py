"""An adapter on several networks at once: a UNet and its text encoder, each with modules, rank and rate of its own."""

import json

import pytest
import torch

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.networks import Placement, find_adapted_networks, find_denoiser_part, put_on
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.schema.optimizers.adamw import AdamWSettings
from lorakiln.train.parameter_groups import list_part_names

ENDS = {"unet": ("to_q", "proj_in"), "text_encoder": ("q_proj", "fc1")}
RANKS, ALPHAS = {"unet": 4, "text_encoder": 2}, {"unet": 4.0, "text_encoder": 1.0}


def modules_of(family, part):
    network = family.adaptable()[part]
    return [name for name, _ in network.named_modules() if name.endswith(ENDS[part])]


def placements(family):
    return {
        part: Placement(modules_of(family, part), LoraSettings(rank=RANKS[part], alpha=ALPHAS[part])) for part in ENDS
    }


def put(family, seed=3):
    return put_on(family, placements(family), seed)


@pytest.fixture
def learned(micro_model):
    """A family whose two networks carry LoRAs that change something."""
    family = load_family(micro_model)
    adapted = put(family)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in adapted.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return family, adapted


def answers(family):
    """What the text encoder and the UNet behind it say."""
    conditioning = family.encode_prompts(["sks, a red cat"])
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return conditioning["prompt_embeds"], family.predict(latents, torch.tensor([500]), conditioning)


def test_each_network_has_its_own_modules_rank_and_alpha_and_begins_as_it_was(micro_model):
    family = load_family(micro_model)
    before = answers(family)
    adapted = put(family)
    assert all(torch.equal(one, other) for one, other in zip(before, answers(family), strict=True))
    assert find_denoiser_part(family) == "unet" and set(adapted.networks) == set(ENDS)
    layers = adapted.read().layers
    for part in ENDS:
        mine = {name: layer for name, layer in layers.items() if name.startswith(f"{part}.")}
        assert len(mine) == len(modules_of(family, part)) > 0
        assert {(layer.rank, layer.alpha) for layer in mine.values()} == {(RANKS[part], ALPHAS[part])}
    # Canonical, whatever transformers calls its levels.
    assert all(name.startswith(("unet.", "text_encoder.text_model.encoder.")) for name in layers)


def test_the_denoisers_first_weights_are_what_they_are_alone(micro_model):
    alone, both = load_family(micro_model), load_family(micro_model)
    put_on(alone, {"unet": placements(alone)["unet"]}, 3)
    put(both)
    first, second = (find_adapted_networks(one, "lora").read().layers for one in (alone, both))
    assert first.keys() < second.keys()
    assert all(torch.equal(layer.down, second[name].down) for name, layer in first.items())
    # Another seed is another draw in each.
    other = put(load_family(micro_model), seed=4).read().layers
    assert not any(torch.equal(layer.down, other[name].down) for name, layer in second.items())


def test_a_learning_rate_can_be_that_of_one_network_alone(micro_model):
    family = load_family(micro_model)
    names = [name for name, _ in put(family).parameters()]
    part_of = list_part_names(names, AdamWSettings(lr=1e-4, part_lrs={"text_encoder": 1e-5, "up_blocks": 2e-4}))
    counts = {part: sum(part_of(name) == part for name in names) for part in ("text_encoder", "up_blocks", "")}
    assert counts["text_encoder"] == 2 * len(modules_of(family, "text_encoder"))
    assert counts["up_blocks"] and counts[""] and sum(counts.values()) == len(names)


def test_only_the_adapters_train_and_gradients_reach_both(learned):
    family, adapted = learned
    trained = dict(adapted.parameters())
    everything = [p for network in family.adaptable().values() for p in network.parameters() if p.requires_grad]
    assert len(everything) == len(trained) and {id(p) for p in everything} == {id(p) for p in trained.values()}
    ids = torch.tensor([[1, 2, 3, 4]])
    text = family.text_encoder(ids)[0]
    family.network(torch.randn(1, 4, 8, 8), torch.tensor([5]), text, return_dict=False)[0].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained.values())


def test_a_file_of_both_is_written_read_back_and_acts_as_the_networks_do(tmp_path, learned, micro_model):
    family, adapted = learned
    expected, given = answers(family), adapted.read()
    bare = load_family(micro_model)
    before = answers(bare)
    assert not any(torch.allclose(one, other) for one, other in zip(expected, before, strict=True))
    own, kohya = tmp_path / "own.safetensors", tmp_path / "kohya.safetensors"
    diffusers_form.save(given, own)
    kohya_form.save(given, kohya, bare, {})
    config = json.loads(load_tensors(own)[1][diffusers_form.METADATA])
    assert {part: config[f"{part}.r"] for part in RANKS} == RANKS
    assert {part: config[f"{part}.lora_alpha"] for part in ALPHAS} == ALPHAS
    reads = [diffusers_form.load(own), read_any(own).adapter, read_any(kohya).adapter]
    reads += [kohya_form.load(kohya, bare, client) for client in bare.client_keys()]
    for read in reads:
        assert read.layers.keys() == given.layers.keys()
        for name, layer in given.layers.items():
            assert torch.equal(read.layers[name].down.view_as(layer.down), layer.down)
            assert (read.layers[name].rank, read.layers[name].alpha) == (layer.rank, layer.alpha)
    # Merged into the bare networks, and put back onto networks that carry fresh ones.
    merged = Merged(bare.adaptable(), reads[2])
    merged.set_weights(1.0)
    second = load_family(micro_model)
    put(second, seed=9).write(reads[0])
    for one in (bare, second):
        for found, wanted in zip(answers(one), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_other_networks_is_refused(learned, micro_model):
    _, adapted = learned
    given = adapted.read()
    alone = load_family(micro_model)
    on = put_on(alone, {"unet": placements(alone)["unet"]}, 3)
    with pytest.raises(UserError, match="it has layers of text_encoder, which carries no adapter"):
        on.write(given)
    some = {name: layer for name, layer in given.layers.items() if name.startswith("unet.")}
    with pytest.raises(UserError, match="modules differ"):
        adapted.write(Adapter(some))


def test_several_kinds_at_once_are_refused(micro_model):
    family = load_family(micro_model)
    given = placements(family)
    other = given["unet"].settings.model_copy(update={"kind": "other"})
    with pytest.raises(ValueError, match="one kind"):
        put_on(family, {**given, "unet": Placement(given["unet"].modules, other)}, 0)
