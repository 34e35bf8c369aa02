import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from diffusers import DDIMScheduler

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.export import export
from lorakiln.export import stage as export_stage
from lorakiln.facts import LoraFacts
from lorakiln.families import load_family
from lorakiln.lora_files import diffusers_form, kohya_form
from lorakiln.schema.export import ExportSettings
from lorakiln.tools.convert_base import convert_base
from tests.export.conftest import CAPTIONS, PROMPTS, trained


@pytest.fixture
def do(tmp_path, run, captioned, micro_model):
    """Export with the given settings; the folder."""

    def call(out="lora", **settings) -> Path:
        export(run, captioned, tmp_path / out, ExportSettings(**settings), micro_model)
        return tmp_path / out

    return call


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


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


def test_the_sidecar_is_what_a1111_reads(do):
    notes = read_json(do(name="cats") / "cats.json")
    assert (notes["sd version"], notes["activation text"], notes["preferred weight"]) == ("SD1", "sks", 1.0)
    assert notes["description"] == "LoRA of rank 4, trained on 3 pictures"
    assert set(notes) == {"description", "sd version", "activation text", "preferred weight", "negative text", "notes"}


def test_the_model_card(do, facts):
    out = do(name="cats", license="mit", previews=1, base_model="owner/model")
    text = (out / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "owner/model",
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora"],
        "instance_prompt": "sks",
        "license": "mit",
        "widget": [{"text": PROMPTS[0], "output": {"url": "previews/00.png"}}],
    }
    for part in (
        "# cats\n",
        "for `owner/model`, trained on 3 pictures",
        "`cats.safetensors`",
        "## Trigger words",
        "`sks`",
        "`<lora:cats:1>`",
        "load_lora_weights",
        "ComfyUI",
        facts["dataset"]["hash"][:16],
        "| seed | 7 |",
        "| step | 20 of 20 |",
        "![sample 1](previews/00.png)",
        f'pipe("{CAPTIONS[0]}")',
        'DiffusionPipeline.from_pretrained("owner/model")\n',
        "| dataset | secret_folder |",
    ):
        assert part in body, part
    assert not list((out / "previews").glob("01.png"))


def test_the_card_warns_of_photographs_on_a_model_of_drawings(do, run):
    facts = read_json(run / "facts.json")
    assert "Warning" not in (do() / "README.md").read_text()
    facts["dataset"]["out_of_domain"] = "4 of 4 pictures are shaded: add model=sd15."
    write_json(run / "facts.json", facts)
    assert "> **Warning:** 4 of 4 pictures are shaded: add model=sd15.\n" in (do() / "README.md").read_text()


def test_a_base_of_this_machine_is_named_without_its_place(do, facts):
    out = do(name="cats")
    place = str(Path(facts["base"]["path"]).parent)
    for name in files(out) - {"facts.json"}:
        assert place.encode() not in (out / name).read_bytes(), name
    settings = json.loads(load_tensors(out / "cats.safetensors")[1]["lorakiln_settings"])
    assert settings["model"]["path"] == "sd" and settings["model"]["clip"]["path"] == "models/tiny/clip"
    text = (out / "README.md").read_text()
    assert "base_model" not in yaml.safe_load(text.split("---\n")[1])
    assert "for `sd`, trained" in text and 'DiffusionPipeline.from_pretrained("sd")  # where you have it' in text
    assert read_json(out / "diffusers/adapter_config.json")["base_model_name_or_path"] is None
    assert read_json(out / "cats.json")["notes"] == "base model: sd; step 20"
    named = do("named", name="cats", base_model="owner/model")
    assert read_json(named / "diffusers/adapter_config.json")["base_model_name_or_path"] == "owner/model"
    assert read_json(named / "cats.json")["notes"] == "base model: owner/model; step 20"


@pytest.mark.parametrize(
    ("given", "front"),
    [
        ("mit", {"license": "mit"}),
        ("CreativeML-OpenRAIL-M", {"license": "creativeml-openrail-m"}),
        ("ask me", {"license": "other", "license_name": "ask me"}),
    ],
)
def test_a_license_is_named_as_the_hub_takes_it_and_stands_in_the_file(do, given, front):
    out = do(name="cats", license=given)
    matter = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert {key: value for key, value in matter.items() if key.startswith("license")} == front
    assert load_tensors(out / "cats.safetensors")[1]["modelspec.license"] == given


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("sks", "`sks`"),
        ("a`<img src=x>", "`` a`<img src=x> ``"),
        ("``b\n\n# c", "``` ``b # c ```"),
        ("`", "`` ` ``"),
    ],
)
def test_what_is_chosen_freely_stays_inside_its_code_span(do, run, facts, text, span):
    write_json(run / "facts.json", {**facts, "trigger": text})
    assert f"## Trigger words\n\n{span}\n\n## Use" in (do(name="x") / "README.md").read_text()


def test_names_are_text_in_the_card_whatever_they_hold(do, run, facts):
    facts["dataset"]["name"] = "a|b<i>_c_d"
    write_json(run / "facts.json", facts)
    text = (do(name="x`<script>y") / "README.md").read_text()
    assert "# x\\`\\<script\\>y\n" in text and "`` x`<script>y.safetensors ``" in text
    assert "`` <lora:x`<script>y:1> ``" in text and r"| dataset | a\|b\<i\>\_c_d |" in text


def test_the_file_names_the_bases_own_file_by_its_hashes(run, captioned, facts, micro_model, tmp_path):
    convert_base(Path(micro_model.path), tmp_path / "dream.safetensors")
    base = micro_model.model_copy(update={"path": str(tmp_path / "dream.safetensors"), "config": micro_model.path})
    facts["base"] = dict(load_family(base, ()).facts)
    write_json(run / "facts.json", facts)
    export(run, captioned, tmp_path / "lora", ExportSettings(name="x"), base)
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


def test_the_card_tells_what_was_not_all_alike(do, run, facts):
    text = (do() / "README.md").read_text()
    assert "| learning rate | 0.0001, cosine |" in text and not re.search(r"\| (timesteps|went on from) \|", text)
    facts["settings"]["train"]["optimizer"]["part_lrs"] = {"up_blocks": 2e-4, "mid_block": 0.0}
    told = {"timesteps": [300, 1000, 1000], "init_from": {"file": "a|`b`.safetensors", "hash": "0123456789abcdef" * 4}}
    write_json(run / "facts.json", {**facts, **told})
    text = (do() / "README.md").read_text()
    assert "| learning rate | 0.0001 (mid_block 0, up_blocks 0.0002), cosine |" in text
    assert "| timesteps | 300 to 999, of 0 to 999 |" in text
    assert "| went on from | a__b_.safetensors (`0123456789abcdef`) |" in text
    hidden = do("hidden", private=True)
    assert "went on from" not in (hidden / "README.md").read_text()
    assert read_json(hidden / "facts.json")["init_from"] is None


def test_who_draws_is_told_of_zero_terminal_snr(do, run, facts):
    advice = (
        "zero terminal SNR: in A1111 set the noise schedule for sampling to it, in ComfyUI use ModelSamplingDiscrete"
    )
    before = do()
    assert advice not in (before / "README.md").read_text() + read_json(before / "secret_folder.json")["notes"]
    assert not LoraFacts.read(before / "facts.json").zero_terminal_snr
    write_json(run / "facts.json", {**facts, "zero_terminal_snr": True})
    told = do()
    card = (told / "README.md").read_text()
    assert f"| noise schedule | {advice}" in card and advice in read_json(told / "secret_folder.json")["notes"]
    assert LoraFacts.read(told / "facts.json").zero_terminal_snr
    assert load_tensors(told / "secret_folder.safetensors")[1]["ss_zero_terminal_snr"] == "True"
    # The card's own lines make diffusers' pipeline draw so.
    code = card.split("```python")[1].split("```")[0]
    lines = code[code.index("from diffusers import DDIMScheduler") : code.index("pipe.load_lora_weights")]
    pipe = SimpleNamespace(scheduler=DDIMScheduler(prediction_type="v_prediction"))
    exec(lines, {"pipe": pipe})
    pipe.scheduler.set_timesteps(4)
    assert pipe.scheduler.alphas_cumprod[-1] == 0 and pipe.scheduler.timesteps[0] == 999


def test_a_prompt_is_the_pictures_own_whatever_it_holds(do):
    front = (do() / "README.md").read_text().split("---\n")[1]
    assert [one["text"] for one in yaml.safe_load(front)["widget"]] == PROMPTS


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


def replace_last(run, change):
    path = run / "adapters" / "step-00000020.safetensors"
    layers = dict(diffusers_form.load(path).layers)
    name = sorted(layers)[0]
    layers[name] = change(layers[name])
    diffusers_form.save(Adapter(layers), path)
    return name


def test_what_half_precision_cannot_hold_is_refused_and_the_old_folder_stays(do, run):
    before = hash_folder(do())
    name = replace_last(run, lambda layer: Layer(layer.down * 1e12, layer.up, layer.alpha))
    with pytest.raises(UserError, match="too large for float16") as caught:
        do()
    assert name in str(caught.value)
    assert hash_folder(do("lora2", precision="bf16")) != before
    with pytest.raises(UserError):
        do()
    assert hash_folder(run.parent / "lora") == before


def changes(out, family):
    return {
        path.name: found.layers
        for path, found in (
            (out / "secret_folder.safetensors", kohya_form.load(out / "secret_folder.safetensors", family)),
            (out / "diffusers", diffusers_form.load(out / "diffusers" / "pytorch_lora_weights.safetensors")),
        )
    }


@pytest.mark.parametrize("factor", [1e-5, 1e7])
def test_factors_too_small_or_large_for_half_precision_are_evened_out(do, run, micro_family, capsys, factor):
    name = replace_last(run, lambda layer: Layer(layer.down, layer.up * factor, layer.alpha))
    expected = factor * trained(micro_family, 20).layers[name].delta()
    for found in changes(do(), micro_family).values():
        assert (found[name].delta() - expected).norm() < 4e-3 * expected.norm()
    assert "nearly zero" not in capsys.readouterr().out


def test_a_layer_that_is_nearly_zero_does_not_stop_the_export(do, run, micro_family, capsys):
    name = replace_last(run, lambda layer: Layer(layer.down, layer.up * 1e-11, layer.alpha))
    expected = trained(micro_family, 20).layers
    for found in changes(do(), micro_family).values():
        assert found[name].delta().norm() < 1e-9 * expected[name].delta().norm()
        other = next(one for one in expected if one != name)
        assert (found[other].delta() - expected[other].delta()).norm() < 4e-3 * expected[other].delta().norm()
    said = capsys.readouterr().out
    assert said.count("note: 1 layer is nearly zero beside the others; the precision loses up to ") == 2
    assert f"({name})" in said


def test_what_half_precision_loses_of_a_layer_that_counts_is_refused_by_name(do, run, micro_family):
    path = run / "adapters" / "step-00000020.safetensors"
    small = {
        name: Layer(layer.down, layer.up * 1e-11, layer.alpha)
        for name, layer in diffusers_form.load(path).layers.items()
    }
    diffusers_form.save(Adapter(small), path)
    with pytest.raises(UserError, match=r"weights are too small for float16, \d+% would be lost") as caught:
        do()
    assert "export.precision" in str(caught.value) and any(name in str(caught.value) for name in small)
    do(precision="fp32")


def test_a_file_that_is_read_back_otherwise_is_refused(do, monkeypatch):
    def lossy(adapter, path, family, metadata, kind):
        name, layer = next(iter(adapter.layers.items()))
        layers = {**adapter.layers, name: Layer(layer.down, layer.up, layer.alpha * 2)}
        return save(Adapter(layers), path, family, metadata, kind)

    save = kohya_form.save
    monkeypatch.setattr(export_stage.kohya_form, "save", lossy)
    with pytest.raises(UserError, match=r"1 layers differ .* \(1.0e\+00\)"):
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
