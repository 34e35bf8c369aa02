"""A kind of adapter that is added through the registry alone goes the whole way, from training to going on from it."""

import pytest
import torch

from lorakiln.adapters import protocol
from lorakiln.artefacts.json_files import read_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.cli import main
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.export import export
from lorakiln.families import load_family
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_any, read_as_stored
from lorakiln.schema.adapters import ADAPTERS, AdapterSettings
from lorakiln.schema.base import check
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tools.inspect import inspect
from tests.adapters import made_up
from tests.made_facts import write_captioned

KINDS = {"row_scaling": (made_up.RowScaling, made_up.ScalingSettings), "tanh": (made_up.Tanh, made_up.TanhSettings)}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    code, settings = KINDS[request.param]
    ADAPTERS.add(request.param, code(), settings)
    yield request.param
    ADAPTERS.remove(request.param)


@pytest.fixture
def captioned(tmp_path, micro_encoded):
    return write_captioned(micro_encoded, tmp_path / "captioned")


def test_it_is_trained_exported_verified_inspected_merged_and_gone_on_from(
    tmp_path, kind, train_micro, make_settings, micro_model, captioned
):
    of_kind = {"adapter": {"kind": kind, "targets": "kohya"}, "optimizer": {"kind": "adamw"}}
    tracker, samples = {"kind": "csv", "log_every": 2}, {"every": 6, "steps": 1}
    run = train_micro(make_settings(**of_kind, steps=6, tracker=tracker, samples=samples))
    metrics = (run / "metrics.csv").read_text()
    assert "nan" not in metrics and read_json(run / "facts.json")["settings"]["train"]["adapter"]["kind"] == kind
    # Exported, and read back by every client's own key.
    export(
        run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(precision="fp32", name="x"), micro_model
    )
    file = tmp_path / "lora" / "x.safetensors"
    facts = read_json(tmp_path / "lora" / "facts.json")
    family = load_family(micro_model, ("network",))
    names = family.target_modules("kohya")
    assert facts["checked"] == {
        "layers": len(names),
        "clients": list(family.client_keys()),
        "largest_relative_difference": 0.0,
    }
    assert facts["files"] == ["x.safetensors"]
    card = (tmp_path / "lora" / "README.md").read_text()
    assert f"A {protocol.find_trained_kind(kind).TITLE} of rank 4" in card and "load_lora_weights" not in card
    tensors, metadata = load_tensors(file)
    own = protocol.find_trained_kind(kind)
    assert metadata["ss_network_module"].startswith("made_up.")
    assert {key.partition(".")[2] for key in tensors} == own.ENDINGS["kohya"].tells
    assert any(tensor.any() for key, tensor in tensors.items() if key.endswith(("rows", "tanh_up")))
    # Inspected: of what kind it is, and what it does as far as that is known without the base.
    found = inspect(file)
    assert set(found["kinds"].values()) == {own.TITLE} and len(found["kinds"]) == len(names)
    assert found["needs_base"] == (len(names) if own.RELATIVE else 0)
    assert (found["norm"] > 0) == (not own.RELATIVE)
    settings = found["retrain"]
    assert settings[:2] == [f"train/adapter={kind}", f"train.adapter.init_from={file}"]
    assert "train.adapter.targets=kohya" in settings
    assert ("train.adapter.rank=4" in settings) == ("train.adapter.alpha=4" in settings) == (not own.RELATIVE)
    # Merged into the base: what it predicts then is what the trained network predicted.
    stored = read_as_stored(file).adapter.layers
    bare = {name: family.network.get_submodule(name).weight.detach().clone() for name in names}
    Merged(family.adaptable(), read_any(file).adapter).set_weights(1.0)
    for name in names:
        changed = family.network.get_submodule(name).weight - bare[name]
        torch.testing.assert_close(changed, stored[f"unet.{name}"].change_of(bare[name]), rtol=1e-4, atol=1e-6)
    out = tmp_path / "merged"
    assert main(["merge", str(file), "--into", micro_model.path, "--out", str(out)]) == 0
    merged = load_family(micro_model.model_copy(update={"path": str(out)}), ("network",)).network
    for name in names:
        expected = family.network.get_submodule(name).weight
        torch.testing.assert_close(merged.get_submodule(name).weight, expected, rtol=1e-4, atol=1e-6)
    # Converted to a LoRA, with the base where that is needed.
    more = ["--base", micro_model.path] if own.RELATIVE else []
    assert main(["convert", str(file), str(tmp_path / "as_lora.safetensors"), *more]) == 0
    for name, layer in read_any(tmp_path / "as_lora.safetensors").adapter.layers.items():
        weight = bare[name.removeprefix("unet.")]
        torch.testing.assert_close(layer.change_of(weight), stored[name].change_of(weight), rtol=1e-4, atol=1e-6)
    # Gone on from: one step at no rate leaves it what it was.
    frozen = {"kind": kind, "targets": "kohya", "init_from": str(file)}
    again = make_settings(
        adapter=frozen, steps=1, optimizer={"kind": "adamw", "lr": 1e-12, "weight_decay": 0}, validation={"every": 0}
    )
    second = train_micro(again, "second")
    (path,) = (second / "adapters").iterdir()
    for name, layer in read_as_stored(path).adapter.layers.items():
        for key, value in own.tensors(layer, "kohya").items():
            torch.testing.assert_close(value, own.tensors(stored[name], "kohya")[key], rtol=1e-6, atol=1e-8)
    other = make_settings(**of_kind | {"adapter": {**frozen, "init_from": str(tmp_path / "as_lora.safetensors")}})
    with pytest.raises(UserError, match=f"its layers are LoRA, no {own.TITLE}"):
        train_micro(other)


def test_half_the_strength_is_half_the_change(tmp_path, kind, train_micro, make_settings, micro_model, captioned):
    run = train_micro(make_settings(adapter={"kind": kind}, optimizer={"kind": "adamw"}, steps=2))
    for name, strength in (("whole", 1.0), ("half", 0.5)):
        export(
            run,
            captioned,
            tmp_path / "choice",
            tmp_path / name,
            ExportSettings(precision="fp32", name="x", strength=strength),
            micro_model,
        )
    whole, half = (read_as_stored(tmp_path / name / "x.safetensors").adapter.layers for name in ("whole", "half"))
    network = load_family(micro_model, ("network",)).network
    for name, layer in whole.items():
        weight = network.get_submodule(name.removeprefix("unet.")).weight.detach()
        change = layer.change_of(weight)
        assert change.any()
        torch.testing.assert_close(half[name].change_of(weight), change / 2, rtol=1e-5, atol=1e-9)


def test_a_written_file_that_does_something_else_is_not_exported(
    tmp_path, kind, train_micro, make_settings, micro_model, captioned, monkeypatch
):
    run = train_micro(make_settings(adapter={"kind": kind}, optimizer={"kind": "adamw"}, steps=2))
    own = protocol.find_trained_kind(kind)
    read = own.read
    monkeypatch.setattr(own, "read", lambda stored: own.scale(read(stored), 1.0 if stored.form == "dotted" else 1.01))
    with pytest.raises(UserError, match="layers unlike what was trained"):
        export(run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(precision="fp32"), micro_model)


def test_its_settings_are_checked_and_a_kind_that_is_only_read_is_refused_by_name(make_settings):
    ADAPTERS.add("tanh", made_up.Tanh(), made_up.TanhSettings)
    try:
        changed = make_settings(adapter={"kind": "tanh", "slope": 2.0}, optimizer={"kind": "adamw"})
        assert changed.adapter == made_up.TanhSettings(rank=4, alpha=4.0, slope=2.0)
        given = changed.model_dump(mode="json")
        with pytest.raises(ConfigError) as caught:
            check(TrainSettings, {**given, "adapter": {"kind": "lora", "rank": 4, "alpha": 4.0, "slope": 2.0}}, "train")
        assert caught.value.problems == [
            "train.adapter.slope: unknown setting; known: alpha, alpha_pattern, dropout, init, init_from, kind, "
            "max_norm, module_dropout, rank, rank_dropout, rank_pattern, rate_ratio, targets"
        ]
        with pytest.raises(ConfigError) as caught:
            check(TrainSettings, {**given, "adapter": {"kind": "full", "rank": 4, "alpha": 4.0}}, "train")
        (problem,) = caught.value.problems
        assert problem.startswith("train.adapter.kind: Input should be 'boft', 'dora', ")
        assert "'rslora' or 'tanh'; 'full' is known, and cannot be chosen yet (got 'full')" in problem
    finally:
        ADAPTERS.remove("tanh")


def test_a_kind_that_is_only_read_needs_no_settings(tmp_path, micro_model):
    from lorakiln.artefacts.tensor_files import save_tensors

    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_tensors(tmp_path / "x.safetensors", {f"{name}.rows": torch.ones(32)})
    with pytest.raises(UserError, match="belong to no layer of a LoRA"):
        read_any(tmp_path / "x.safetensors")
    ADAPTERS.add("row_scaling", made_up.RowScaling())
    try:
        assert "row_scaling" in ADAPTERS.known and "row_scaling" not in ADAPTERS.names
        assert set(read_any(tmp_path / "x.safetensors").kinds.values()) == {"row scaling"}
        with pytest.raises(KeyError):
            ADAPTERS.settings("row_scaling")
    finally:
        ADAPTERS.remove("row_scaling")


def test_every_kind_of_the_package_has_what_the_protocol_asks_for():
    for name in ADAPTERS.known:
        found = ADAPTERS.find(name)
        assert found.TITLE and isinstance(found.FULL_RANK, bool) and isinstance(found.RELATIVE, bool), name
        if found.ENDINGS:
            assert callable(found.claim) and callable(found.read), name
        else:
            assert found.REFUSED, name
    for name in ADAPTERS.names:
        asked = [one for one in vars(protocol.TrainableKind) if not one.startswith("_")]
        assert not [one for one in asked if not hasattr(ADAPTERS.find(name), one)], name
    assert issubclass(ADAPTERS.settings("lora"), AdapterSettings)
