"""Every kind of adapter goes the whole way: trained, killed and gone on with, exported, verified, gone on from."""

import pytest
import torch

from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import ConfigError
from lorakiln.export import export
from lorakiln.families import load_family
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any, read_as_stored
from lorakiln.lora_files.training_facts import format_rates
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.inspect import inspect
from lorakiln.train.share import Share
from pipelines.compose import compose_config
from tests.made_facts import write_captioned

DROPPED = {"rank_dropout": 0.2, "module_dropout": 0.1}
# On attention, and on convolutions of both sizes.
TARGETS = ["attn1.to_q", "attn2.to_k", "ff.net.2", "proj_in", "conv1"]
# What sd-scripts' metadata says of each: its network, and LyCORIS' name of the kind.
KINDS = {
    "lora": ({"dropout": 0.1, "rate_ratio": 4.0, "max_norm": 0.2, **DROPPED}, "networks.lora", None),
    "lora pissa": ({"init": "pissa", "rank_pattern": {"conv1": 2}}, "networks.lora", None),
    "rslora": ({"init": "gaussian", **DROPPED}, "networks.lora", None),
    "dora": ({"rate_ratio": 4.0, **DROPPED}, "lycoris.kohya", "lora"),
    "loha": ({"max_norm": 0.2, **DROPPED}, "lycoris.kohya", "loha"),
    "lokr": ({"factor": 4, "max_norm": 0.2, **DROPPED}, "lycoris.kohya", "lokr"),
    "oft": ({"rescale": True, "module_dropout": 0.1}, "lycoris.kohya", "diag-oft"),
    "boft": ({"constraint": 0.5}, "lycoris.kohya", "boft"),
    "ia3": ({"rank": 1, "alpha": 1.0, "module_dropout": 0.1}, "lycoris.kohya", "ia3"),
}


@pytest.fixture
def captioned(tmp_path, micro_encoded):
    return write_captioned(micro_encoded, tmp_path / "captioned")


@pytest.mark.parametrize("name", KINDS)
def test_it_is_trained_gone_on_with_exported_verified_and_gone_on_from(
    tmp_path, name, train_micro, train_killed, make_settings, micro_model, captioned, capsys
):
    more, network, algo = KINDS[name]
    adapter = {"kind": name.split()[0], "rank": 4, "alpha": 4.0, "targets": TARGETS, **more}
    settings = make_settings(
        adapter=adapter,
        steps=5,
        checkpoint_every=2,
        validation={"every": 2, "fraction": 0.3, "draws": 1},
        samples={"every": 3, "steps": 1},
    )
    # Killed and gone on with, validated and drawn from on the way, or not: the same to the last bit.
    train_killed(settings, at=3)
    run = train_micro(settings)
    assert "going on from the checkpoint after step 2" in capsys.readouterr().err
    (file,) = (run / "adapters").iterdir()
    rarely = settings.validation.model_copy(update={"every": 5})
    silent = settings.samples.model_copy(update={"every": 0})
    whole = train_micro(settings.model_copy(update={"samples": silent, "validation": rarely}), "whole")
    assert file.read_bytes() == (whole / "adapters" / file.name).read_bytes()
    # Exported: every client's own names, and diffusers' where it loads the kind; verified by what it does.
    out = tmp_path / "lora"
    export(run, captioned, out.parent / "choice", out, ExportSettings(precision="fp32", name="x"), micro_model)
    facts, kind = read_json(out / "facts.json"), find_trained_kind(adapter["kind"])
    family = load_family(micro_model, ("network",))
    assert facts["checked"]["clients"] == [
        *family.client_keys(),
        *(["diffusers"] if hasattr(kind, "fold") else []),
        *(["peft"] if adapter["kind"] in ("loha", "lokr") else []),
    ]
    assert facts["checked"]["largest_relative_difference"] < 1e-4
    _, metadata = load_tensors(out / "x.safetensors")
    assert metadata["ss_network_module"] == network
    assert (f'"algo": "{algo}"' in metadata["ss_network_args"]) == (algo is not None)
    if adapter.get("max_norm"):
        assert metadata["ss_scale_weight_norms"] == "0.2"
    # What the files change of each weight is what was trained.
    trained, written = (read_as_stored(path).adapter.layers for path in (file, out / "x.safetensors"))
    assert trained.keys() == written.keys()
    for module, layer in trained.items():
        weight = family.network.get_submodule(module.removeprefix("unet.")).weight.detach()
        change = layer.change_of(weight)
        assert change.any()
        difference = (written[module].change_of(weight) - change).norm()
        assert difference <= 1e-6 * change.norm() + 1e-7 * weight.norm()
    Merged(family.adaptable(), read_any(out / "x.safetensors").adapter).set_weights(1.0)
    # Inspected, and gone on from as that says: a step at no rate leaves it what it was.
    told = inspect(out / "x.safetensors")["retrain"]
    if algo:
        assert told[0] == f"train/adapter={adapter['kind']}"
    rank = max(layer.rank or 1 for layer in written.values()) if network == "networks.lora" else adapter["rank"]
    begun = {**adapter, "rank": rank, "init_from": str(out / "x.safetensors")}
    begun = {key: value for key, value in begun.items() if key not in ("init", "max_norm", "rank_pattern")}
    frozen = {"kind": "adamw", "lr": 1e-12, "weight_decay": 0}
    second = train_micro(make_settings(adapter=begun, steps=1, optimizer=frozen), "second")
    (path,) = (second / "adapters").iterdir()
    bare = load_family(micro_model, ("network",)).network
    for module, layer in read_as_stored(path).adapter.layers.items():
        weight = bare.get_submodule(module.removeprefix("unet.")).weight.detach()
        expected = written[module].change_of(weight)
        assert (layer.change_of(weight) - expected).norm() <= 1e-5 * expected.norm() + 1e-6 * weight.norm()


def test_factors_of_the_weight_are_those_of_the_checkpoint(train_killed, train_micro, make_settings, monkeypatch):
    """Another machine's decomposition has other last bits, or other signs: a run that goes on keeps its own."""
    settings = make_settings(adapter={"init": "pissa"}, steps=4, checkpoint_every=2)
    train_killed(settings, at=3)
    svd = torch.linalg.svd
    with monkeypatch.context() as patch:
        patch.setattr(torch.linalg, "svd", lambda *a, **k: (lambda u, s, v: (-u, s, -v))(*svd(*a, **k)))
        went_on = train_micro(settings)
    (file,) = (went_on / "adapters").iterdir()
    whole = train_micro(settings, "whole")
    assert file.read_bytes() == (whole / "adapters" / file.name).read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_the_shares_of_two_devices_add_up_to_the_batch(make_module, monkeypatch, name):
    more, _, _ = KINDS[name]
    adapter = {"kind": name.split()[0], "rank": 4, "alpha": 4.0, "targets": TARGETS, **more}
    # What is drawn inside the network is each device's own: the exception.
    adapter = {key: value for key, value in adapter.items() if "dropout" not in key}
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)
    gradients = []
    for share in (Share(), Share(0, 2), Share(1, 2)):
        module = make_module(share=share, adapter=adapter)
        generator = torch.Generator().manual_seed(0)
        module.flat.weights.data.add_(0.05 * torch.randn(module.flat.weights.shape, generator=generator))
        module._update = lambda step: None
        module.training_step(0, 0)
        gradients.append(module.flat.gradients)
    whole, first, second = gradients
    assert whole[:-1].any() and (first + second - whole).norm() < 1e-5 * whole.norm()


def test_lora_plus_has_a_rate_for_each_factor(make_module):
    adapter = {"kind": "lora", "rate_ratio": 16.0}
    module = make_module(adapter=adapter, optimizer={"part_lrs": {"up_blocks": 2e-2, "*.attn2.to_q": 0.0}})
    assert module.groups.peaks == {
        "": 1e-2,
        "B": 16e-2,
        "up_blocks": 2e-2,
        "up_blocks B": 32e-2,
        "*.attn2.to_q": 0.0,
        "*.attn2.to_q B": 0.0,
    }
    for name in module.flat.names:
        part = "up_blocks" if name.startswith("up_blocks") else ""
        part = "*.attn2.to_q" if ".attn2.to_q." in name else part
        assert module.groups.of(name) == (f"{part} B".strip() if "lora_B" in name else part)
    assert module.part_rates(0)["lr/up_blocks B"] == pytest.approx(0.32)
    told = format_rates(module.settings.optimizer, module.settings.adapter)
    assert told == "0.01 (*.attn2.to_q 0, up_blocks 0.02; B 16 times as fast)"
    # One step of AdamW moves every number by its rate: those of B, which has a gradient at once, by 16 times A's.
    module.on_train_start()
    before = {name: tensor.clone() for name, tensor in module.flat.split(module.flat.weights.data).items()}
    module.flat.gradients.fill_(1.0)
    module.optimizers = lambda **_: module.optimizer
    module._update(0)
    for name, tensor in module.flat.split(module.flat.weights.data).items():
        moved = (before[name] * (1 - 1e-2 * module.groups.peaks[module.groups.of(name)]) - tensor).abs()
        torch.testing.assert_close(
            moved, torch.full_like(moved, module.groups.peaks[module.groups.of(name)]), rtol=1e-3, atol=1e-7
        )


def test_lora_plus_with_an_optimizer_that_finds_one_rate_is_refused(make_settings):
    with pytest.raises(ValueError, match="finds one rate for all weights, and adapter.rate_ratio 4 asks for two"):
        make_settings(adapter={"kind": "lora", "rate_ratio": 4.0}, optimizer={"kind": "prodigy", "lr": 1.0})


def test_a_strength_that_no_file_can_hold_is_refused_before_anything_runs():
    given = ["prepare.dataset=demo_style", "train/adapter=dora"]
    assert check_whole(compose_config(given)).train.adapter.kind == "dora"
    with pytest.raises(ConfigError, match="export.strength: 0.5 cannot be written: no file of dora"):
        check_whole(compose_config([*given, "export.strength=0.5"]))
