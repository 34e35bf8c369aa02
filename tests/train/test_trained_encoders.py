"""Text encoders that are trained: as peft trains them, to their stop, through checkpoints, to the exported file."""

from pathlib import Path

import pytest
import torch

from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.export import export
from lorakiln.families import load_family
from lorakiln.families.protocol import NETWORK
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any, read_as_stored
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.train.adapter_placement import inject_adapters, list_placements
from lorakiln.train.memory_count import CountRequest, count_memory
from lorakiln.train.share import Share
from lorakiln.train.validation import compute_validation_loss
from tests.conftest import write_micro_encoded
from tests.families.reduced import write_reduced
from tests.made_facts import write_captioned
from tests.train.plain_encoders import train_plainly

STEPS = 5
BOTH = {
    "parts": ["unet", "text_encoder"],
    "text_encoders": {"rank": 2, "lr": 5e-3, "stop": 6},
    "objective": {"caption_dropout": 0.3},
}


@pytest.fixture(scope="module", params=["micro", "sdxl"])
def base(request, micro_model, micro_encoded, tmp_path_factory):
    """A base with one text encoder, and one with two and a pooled text; and its encoded pictures."""
    if request.param == "micro":
        return micro_model, micro_encoded
    folder = tmp_path_factory.mktemp("encoders")
    path = str(write_reduced(folder / "sdxl", "sdxl"))
    sides = {"resolution": 32, "bucket_min": 16, "bucket_max": 64, "bucket_step": 16}
    source = {"path": "models/tiny/clip"}
    model = ModelSettings(family="sdxl", path=path, captioner=source, clip=source, **sides)
    write_micro_encoded(folder / "encoded", model, load_family(model, ("text",)))
    return model, folder / "encoded"


def step_by_hand(module, steps=STEPS):
    """The module's own steps without a trainer."""
    module.optimizers = lambda use_pl_optimizer=True: module.optimizer
    module.network.train()
    losses = []
    for step in range(steps):
        module.training_step(0, step)
        losses.append(module.step_losses.read() or module.step_losses.losses[-1])
    return losses


@pytest.mark.parametrize("alone", [False, True], ids=["both", "encoders alone"])
def test_encoders_are_trained_as_peft_trains_them(base, make_module, alone):
    model, encoded = base
    names = ["text_encoder", "text_encoder_2"][: 1 if model.family == "sd" else 2]
    own = {names[-1]: {"lr": 2e-3, "rank": 3}}
    module = make_module(
        encoded=encoded,
        model=model,
        parts=names if alone else ["unet", *names],
        text_encoders={"lr": 5e-3, "rank": 2, "own": own},
        objective={"caption_dropout": 0.3},
        # Adam's step is the gradient's sign where eps is nothing beside it, and rounding where that is nearly 0.
        optimizer={"eps": 1e-3},
    )
    expected, weights = train_plainly(module, Path(model.path), STEPS)
    before = module.flat.weights.data.clone()
    assert step_by_hand(module) == pytest.approx(expected, rel=1e-5)
    found = module.flat.split(module.flat.weights.data)
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)
    moved = {name.partition(".")[0] for name, one in module.flat.split(before).items() if not one.equal(found[name])}
    assert moved >= set(names)
    assert {part: module.rate(0, part) for part in names} == {part: own.get(part, {"lr": 5e-3})["lr"] for part in names}


def test_what_is_validated_is_what_the_trained_encoder_says(make_module, micro_model):
    module = make_module(**BOTH)
    generator = torch.Generator().manual_seed(0)
    module.flat.weights.data.copy_(torch.randn(module.flat.weights.shape, generator=generator) * 0.3)
    found = compute_validation_loss(module, [[0, 2], [1]])
    # The same adapter merged into a bare base, whose texts are embedded ahead.
    bare = load_family(micro_model, ("text", "network"))
    Merged(bare.adaptable(), module.adapted.read()).set_weights(1.0)
    plain = make_module()
    plain.family.network = bare.network
    untrained = compute_validation_loss(plain, [[0, 2], [1]])
    for bucket in plain.encoded.buckets:
        bucket.conditioning.update(bare.encode_prompts([row.text for row in bucket.rows]))
    assert found == pytest.approx(compute_validation_loss(plain, [[0, 2], [1]]), rel=1e-4)
    assert found != pytest.approx(untrained, rel=1e-3)


@pytest.mark.parametrize("kind", ADAPTERS.names)
def test_every_kind_is_trained_on_an_encoder_and_written(kind, make_module, tmp_path):
    rank = {"ia3": 1, "boft": 6}.get(kind, 4)
    adapter = {"kind": kind, "rank": rank, "alpha": float(rank)}
    module = make_module(share=Share(bf16=True), parts=["unet", "text_encoder"], adapter=adapter)
    before = module.flat.weights.data.clone()
    step_by_hand(module, steps=2)
    now, first = (module.flat.split(one) for one in (module.flat.weights.data, before))
    theirs = [name for name in now if module.encoders.has(name)]
    assert len(theirs) >= 18 and all(now[name].isfinite().all() for name in theirs)
    assert any(not torch.equal(now[name], first[name]) for name in theirs)
    given, file = module.adapted.read(), tmp_path / "a.safetensors"
    kohya_form.save(given, file, module.family, {}, kind)
    layers = read_as_stored(file).adapter.layers
    assert layers.keys() == given.layers.keys() and any(name.startswith("text_encoder.") for name in layers)
    assert {type(one) for one in layers.values()} == {type(one) for one in given.layers.values()}


def test_gradients_of_parts_of_a_batch_add_up_to_its_own(make_module):
    whole, parts = (make_module(**BOTH, micro_batch=micro) for micro in (4, 1))
    for module in (whole, parts):
        module._update = lambda step: None
        module.network.train()
        module.training_step(0, 0)
    theirs = {name: one for name, one in whole.flat.split(whole.flat.gradients).items() if whole.encoders.has(name)}
    assert len(theirs) == 2 * 18 and any(one.any() for one in theirs.values())
    torch.testing.assert_close(parts.flat.gradients, whole.flat.gradients, rtol=1e-4, atol=1e-7)


def test_a_run_stops_them_goes_on_to_the_bit_and_is_exported(
    tmp_path, make_settings, train_micro, train_killed, read_files, micro_model, micro_encoded, capsys
):
    settings = make_settings(
        **BOTH,
        save_every=6,
        checkpoint_every=4,
        optimizer={"kind": "adamw", "weight_decay": 0.1},
        validation={"every": 6, "fraction": 0.34},
        samples={"every": 12, "steps": 1},
    )
    whole = train_micro(settings, "whole")
    assert "text_encoder: rank 2, alpha 2, 18 modules, rate 0.005, to step 6 of 12" in capsys.readouterr().out
    (tmp_path / "cache").rename(tmp_path / "gone")
    # Before the step at which they stop, and behind it.
    train_killed(settings, 5)
    train_killed(settings, 9)
    assert read_files(train_micro(settings, "again")) == read_files(whole)
    files = [whole / "adapters" / f"step-{step:08d}.safetensors" for step in (6, 12)]
    six, twelve = (diffusers_form.load(file).layers for file in files)
    for name, layer in six.items():
        same = torch.equal(layer.up, twelve[name].up) and torch.equal(layer.down, twelve[name].down)
        assert same == name.startswith("text_encoder.") and layer.up.any()
    # The exported file, as other programs read it.
    out = tmp_path / "lora"
    export(
        whole,
        write_captioned(micro_encoded, tmp_path / "captioned"),
        tmp_path / "choice",
        out,
        ExportSettings(precision="fp32"),
        micro_model,
    )
    facts = read_json(out / "facts.json")
    assert facts["encoders"] == {"text_encoder": {"rank": 2, "modules": 18, "lr": 5e-3, "stop": 6}}
    tensors, metadata = load_tensors(out / facts["file"])
    assert sum(name.startswith("lora_te_text_model_encoder_layers_") for name in tensors) == 3 * 18
    assert (metadata["ss_text_encoder_lr"], metadata["ss_unet_lr"]) == ("0.005", "0.01")
    assert "trained too: rank 2, learning rate 0.005, to step 6" in (out / "README.md").read_text()
    bare = load_family(micro_model, ("text", *NETWORK))
    for client in bare.client_keys():
        read = kohya_form.load(out / facts["file"], bare, client).layers
        assert read.keys() == twelve.keys() and all(read[one].rank == twelve[one].rank for one in twelve)
    folder = out / "diffusers" / "pytorch_lora_weights.safetensors"
    assert read_any(folder).adapter.layers.keys() == twelve.keys()
    # A training of both goes on from it, one of the network alone does not.
    more = {"adapter": {"init_from": str(out / facts["file"])}}
    family = load_family(micro_model, ("text", *NETWORK))
    placements = list_placements(family, make_settings(**{**BOTH, **more}))
    found = inject_adapters(family, placements, 5).read().layers
    for name, layer in twelve.items():
        torch.testing.assert_close(found[name].delta(), layer.delta(), rtol=1e-5, atol=1e-7)
    alone = load_family(micro_model, NETWORK)
    with pytest.raises(UserError, match=r"18 layers of text_encoder too.*\n.*train\.parts=\[unet,text_encoder\]"):
        inject_adapters(alone, list_placements(alone, make_settings(**more)), 5)


def test_memory_is_counted_with_them(base, make_settings):
    model, _ = base
    names = ["text_encoder", "text_encoder_2"][: 1 if model.family == "sd" else 2]
    family = load_family(model, ())
    told = {name: value[:1] for name, value in load_family(model, ("text",)).encode_prompts(["a cat"]).items()}

    def count(**changes):
        settings = make_settings(**changes)
        return count_memory(CountRequest(family, settings, Share(), (4, 8, 8), told, drawn=(4, 8, 8)))

    without, both = count(), count(parts=["unet", *names])
    texts = load_family(model, ("text",)).adaptable().values()
    weights = sum(tensor.nbytes for one in texts for tensor in (*one.parameters(), *one.buffers()))
    assert both.base - without.base == weights and (without.text, both.text) == (weights, 0)
    assert both.adapter > without.adapter and both.step > without.step
    recomputed = count(parts=["unet", *names], trainer={"gradient_checkpointing": True})
    plain = count(trainer={"gradient_checkpointing": True})
    assert recomputed.step - plain.step < both.step - without.step
    # Words take the encoders and the way back through them, and of what is trained a vector, a gradient and Adam's two.
    words = {"sks": {"vectors": 64}, "dog": {"init": "a dog", "vectors": None}}
    beside, alone = count(tokens=words), count(tokens=words, parts=[])
    widths = sum(one.get_input_embeddings().weight.shape[1] for one in texts)
    assert (beside.base, beside.text, alone.base) == (both.base, 0, both.base)
    assert beside.adapter - without.adapter == pytest.approx(65 * widths * 4 * 4, rel=0.05)
    assert without.step < beside.step < both.step and alone.step < beside.step
