import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.export import export
from lorakiln.export import stage as export_stage
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.schema.export import ExportSettings
from lorakiln.tools.convert_base import convert_base
from tests.export.conftest import PROMPTS, files, trained


def test_the_folder(do, micro_family):
    out = do(name="cats")
    assert files(out) == {
        "cats.safetensors",
        "diffusers/pytorch_lora_weights.safetensors",
        "diffusers/adapter_config.json",
        "README.md",
        "cats.json",
        "cats.png",
        "previews/00.png",
        "previews/01.png",
        "facts.json",
    }
    facts = read_json(out / "facts.json")
    assert facts["hash"] == hashlib.sha256((out / "cats.safetensors").read_bytes()).hexdigest()
    assert facts["files"] == ["cats.safetensors", "diffusers/pytorch_lora_weights.safetensors"]
    assert facts["checked"]["layers"] == len(micro_family.target_modules("kohya"))
    assert (facts["name"], facts["file"], facts["step"]) == ("cats", "cats.safetensors", 20)
    assert set(facts["settings"]) == {"prepare", "caption", "encode", "model", "train", "export"}
    assert {tensor.dtype for tensor in load_tensors(out / "cats.safetensors")[0].values()} == {torch.float16}


def test_previews_tell_the_file_that_draws_them(do, run, facts):
    def told(out):
        return [Image.open(out / name).info["parameters"] for name in ("previews/00.png", "cats.png")]

    for out, weight in ((do("whole", name="cats"), "1"), (do("half", name="cats", strength=0.5), "2")):
        short = load_tensors(out / "cats.safetensors")[1]["sshs_model_hash"][:12]
        for text in told(out):
            prompt, negative, last = text.split("\n")
            assert (prompt, negative) == (f"{PROMPTS[0]} <lora:cats:{weight}>", "Negative prompt: bad")
            assert last.endswith(f', Lora hashes: "cats: {short}"')
    # Of another step, and of a file that may ask for any weight, it is another thing that drew them.
    shutil.rmtree(run / "samples/step-00000020")
    assert "lora" not in "".join(told(do("earlier", name="cats"))).lower()
    facts["settings"]["train"]["samples"] |= {"prompts": [], "file": "prompts.txt"}
    write_json(run / "facts.json", facts)
    (run / "samples/step-00000010").rename(run / "samples/step-00000020")
    assert "lora" not in "".join(told(do("asked", name="cats"))).lower()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_both_files_hold_what_was_trained(do, micro_family, precision):
    out = do(precision=precision)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    expected = trained(micro_family, 20).layers
    kohya = kohya_form.load(out / "secret_folder.safetensors", micro_family).layers
    folded = diffusers_form.load(out / "diffusers" / "pytorch_lora_weights.safetensors").layers
    assert set(kohya) == set(folded) == set(expected)
    for name, layer in expected.items():
        for found in (kohya, folded):
            assert torch.equal(found[name].down, layer.down.to(dtype))
        assert torch.equal(kohya[name].up, layer.up.to(dtype)) and kohya[name].alpha == 2.0
        # diffusers' has its scale, 2 / 4, in the weights.
        assert torch.equal(folded[name].up, (0.5 * layer.up).to(dtype)) and folded[name].alpha == 4.0
    difference = read_json(out / "facts.json")["checked"]["largest_relative_difference"]
    assert (difference == 0) if precision == "fp32" else (0 < difference < 0.02)


def test_a_lower_strength_multiplies_every_change_and_is_told(do, micro_family):
    out = do(precision="fp32", strength=0.75)
    expected = trained(micro_family, 20).layers
    for found in (
        kohya_form.load(out / "secret_folder.safetensors", micro_family).layers,
        diffusers_form.load(out / "diffusers" / "pytorch_lora_weights.safetensors").layers,
    ):
        for name, layer in expected.items():
            assert torch.allclose(found[name].delta(), 0.75 * layer.delta(), rtol=1e-6)
    facts = read_json(out / "facts.json")
    assert (facts["strength"], facts["alpha"]) == (0.75, 1.5)
    assert load_tensors(out / "secret_folder.safetensors")[1]["ss_network_alpha"] == "1.5"
    assert load_tensors(out / "secret_folder.safetensors")[1]["lorakiln_strength"] == "0.75"
    card = (out / "README.md").read_text()
    assert "| strength | 0.75 of what was trained, at weight 1 |" in card and ", at full strength." in card
    assert "strength" not in (do("full") / "README.md").read_text()


@pytest.mark.parametrize("strength", [1.0, 0.75])
def test_the_diffusers_folder_acts_alike_wherever_a_reader_looks_for_alphas(do, micro_family, strength):
    folder = do(precision="fp32", strength=strength) / "diffusers"
    tensors, metadata = load_tensors(folder / "pytorch_lora_weights.safetensors")
    config = read_json(folder / "adapter_config.json")
    told = json.loads(metadata["lora_adapter_metadata"])
    assert metadata["ss_base_model_version"] == "sd_v1"
    for alpha, rank, patterns in (
        (config["lora_alpha"], config["r"], config["alpha_pattern"]),
        (told["unet.lora_alpha"], told["unet.r"], told["unet.alpha_pattern"]),
    ):
        assert (alpha, rank, patterns) == (4.0, 4, {})
    # ComfyUI and the diffusers of before 2025-06 add lora_B times lora_A as they stand.
    for name, layer in trained(micro_family, 20).layers.items():
        up, down = (tensors[f"{name}.lora_{side}.weight"].flatten(1) for side in "BA")
        torch.testing.assert_close(up @ down, strength * layer.delta().flatten(1), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("strength", [0.0, -1.0, 2.5])
def test_a_strength_that_makes_no_sense_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        ExportSettings(strength=strength)


def test_best_is_the_lowest_validation_loss_and_all_is_everything(do, micro_family):
    best = do("best", which="best", precision="fp32")
    assert read_json(best / "facts.json")["step"] == 15
    (layer, *_) = kohya_form.load(best / "secret_folder.safetensors", micro_family).layers.items()
    assert torch.equal(layer[1].down, trained(micro_family, 15).layers[layer[0]].down)
    # None were drawn at step 15: those of step 10 are nearest before it.
    assert "Drawn while training, at step 10." in (best / "README.md").read_text()
    every = do("all", which="all")
    names = ["secret_folder", "secret_folder-step00000010", "secret_folder-step00000015"]
    assert sorted(path.stem for path in every.glob("*.safetensors")) == names
    steps = [load_tensors(every / f"{name}.safetensors")[1]["ss_steps"] for name in names]
    assert steps == ["20", "10", "15"]


def test_best_without_a_validation_loss_is_refused(do, run, facts):
    for entry in facts["adapters"]:
        entry["validation_loss"] = None
    write_json(run / "facts.json", facts)
    with pytest.raises(UserError, match="no saved adapter has a validation loss"):
        do(which="best")


def test_equal_inputs_give_equal_bytes(do):
    assert hash_folder(do("one", name="x", which="all")) == hash_folder(do("two", name="x", which="all"))


def test_times_are_told_only_when_asked_for(do, run):
    write_json(run / "provenance.json", {"began": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:05:05+00:00"})
    keys = ("ss_training_started_at", "ss_training_finished_at", "modelspec.date")
    plain, told = (
        load_tensors(do(name, name="x", timestamps=name == "told") / "x.safetensors") for name in ("a", "told")
    )
    assert not set(keys) & set(plain[1])
    assert [told[1][key] for key in keys] == ["1767323045.0", "1767323105.0", "2026-01-02T03:05:05+00:00"]
    assert all(torch.equal(told[0][key], value) for key, value in plain[0].items())


def test_a_private_export_tells_nothing_of_folders_captions_and_pictures(do, run, facts):
    facts["base"]["path"] = facts["settings"]["model"]["path"] = "/home/somebody/models/sd"
    facts["settings"]["model"] |= {"vae": "~/somebody/x.safetensors", "config": "../somebody/sd"}
    facts["settings"]["model"]["captioner"] = {"path": "C:\\somebody\\blip", "revision": None}
    write_json(run / "facts.json", facts)
    out = do(private=True)
    assert not [name for name in files(out) if name.endswith(".png")]
    assert read_json(out / "facts.json")["name"] == "lora"
    secrets = ["secret_folder", "treasure", "blue cat", "green cat", "somebody", "quoted"]
    for name in files(out):
        content = (out / name).read_bytes()
        assert not [word for word in secrets if word.encode() in content], name
    public = b"".join((path.read_bytes()) for path in sorted(do("public").rglob("*")) if path.is_file())
    assert [word for word in secrets if word.encode() not in public] == []


def test_the_file_names_the_bases_own_file_by_its_hashes(run, captioned, facts, micro_model, tmp_path):
    convert_base(Path(micro_model.path), tmp_path / "dream.safetensors")
    base = micro_model.model_copy(update={"path": str(tmp_path / "dream.safetensors"), "config": micro_model.path})
    facts["base"] = dict(load_family(base, ()).facts)
    write_json(run / "facts.json", facts)
    export(run, captioned, tmp_path / "choice", tmp_path / "lora", ExportSettings(name="x"), base)
    metadata = load_tensors(tmp_path / "lora/x.safetensors")[1]
    content = (tmp_path / "dream.safetensors").read_bytes()
    assert metadata["ss_new_sd_model_hash"] == hashlib.sha256(content).hexdigest()
    assert metadata["ss_sd_model_hash"] == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert metadata["ss_sd_model_name"] == "dream.safetensors" and "ss_vae_hash" not in metadata
    card = (tmp_path / "lora/README.md").read_text()
    assert 'pipe = StableDiffusionPipeline.from_single_file("dream.safetensors")' in card


def test_a_folders_hashes_are_what_sd_scripts_writes_and_another_vae_is_told(do, micro_model):
    metadata = load_tensors(do(name="x") / "x.safetensors")[1]
    assert metadata["ss_sd_model_hash"] == metadata["ss_new_sd_model_hash"] == "IsADirectory"
    other = micro_model.model_copy(update={"vae": f"{micro_model.path}/vae"})
    told = export_stage.read_file_facts(other, ExportSettings())
    assert (told["ss_vae_name"], told["ss_vae_hash"], told["ss_new_vae_hash"]) == ("vae", *["IsADirectory"] * 2)
    hub = micro_model.model_copy(update={"path": "owner/model"})
    assert export_stage.read_file_facts(hub, ExportSettings()) == {}


def test_larger_convolutions_are_told_as_sd_scripts_arguments(do, run, micro_family):
    def file():
        return load_tensors(do(name="x") / "x.safetensors")[1]["ss_network_args"]

    assert file() == "{}"
    path = run / "adapters" / "step-00000020.safetensors"
    name = next(one for one in micro_family.target_modules("locon") if one.endswith("conv1"))
    weight = micro_family.network.get_submodule(name).weight
    wide = Layer(torch.randn(4, *weight.shape[1:]) * 0.1, torch.randn(len(weight), 4, 1, 1) * 0.01, 2.0)
    diffusers_form.save(Adapter({**diffusers_form.load(path).layers, f"unet.{name}": wide}), path)
    assert json.loads(file()) == {"conv_dim": "4", "conv_alpha": "2.0"}


def test_diffusers_loads_the_folder(do, micro_model, micro_family):
    from lorakiln.lora_files.merging import Merged
    from tests.lora_files.conftest import predict

    family, other = load_family(micro_model), load_family(micro_model)
    base = predict(family.network)
    pipe = family.pipeline()
    pipe.load_lora_weights(do(precision="fp32") / "diffusers")
    Merged(other.adaptable(), trained(micro_family, 20)).set_weights(1.0)
    torch.testing.assert_close(predict(pipe.unet), predict(other.network), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(predict(pipe.unet), base, atol=1e-4)


def test_another_base_model_is_refused(do, run, facts):
    facts["base"]["hash"] = "0" * 64
    write_json(run / "facts.json", facts)
    with pytest.raises(UserError, match="whose weights are not those of"):
        do()


def test_a_file_that_is_read_back_otherwise_is_refused(do, monkeypatch):
    def lossy(adapter, path, family, metadata, kind):
        name, layer = next(iter(adapter.layers.items()))
        layers = {**adapter.layers, name: Layer(layer.down, layer.up, layer.alpha * 2)}
        return save(Adapter(layers), path, family, metadata, kind)

    save = kohya_form.save
    monkeypatch.setattr(kohya_form, "save", lossy)
    with pytest.raises(UserError, match=r"1 layer unlike .* \(1.0e\+00\)"):
        do(precision="fp32")


def test_a_name_that_another_file_has_is_refused(do):
    with pytest.raises(UserError, match="'facts' is the name of another file"):
        do(name="facts")


def test_the_metadata_are_those_of_the_run(do):
    _, metadata = load_tensors(do() / "secret_folder.safetensors")
    assert metadata["ss_output_name"] == "secret_folder"
    assert json.loads(metadata["lorakiln_settings"])["train"]["seed"] == 7


def test_too_little_space_is_told_before_anything_is_written(do, disk_of, tmp_path):
    disk_of(500)
    with pytest.raises(UserError, match="the exported adapters need about .*, the disk has 500 bytes left"):
        do()
    assert not (tmp_path / "lora").exists()
