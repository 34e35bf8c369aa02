"""`lorakiln merge --into` and `extract` on folders and single files: the right weights, all of them, and in little
memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.families.sd.original_names import to_original_module
from lorakiln.lora_files import kohya_form
from lorakiln.lora_files.merging import Merged
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from tests.families.single_files import equal, single_of, weights_of, write_pair


@pytest.fixture(scope="module", params=("sd15", "sd21_v", "sdxl"))
def pair(request, tmp_path_factory):
    """Settings of a reduced model's folder and of its single file."""
    return write_pair(tmp_path_factory.mktemp("pair"), request.param)


@pytest.fixture(scope="module")
def lora(pair, tmp_path_factory):
    """On the UNet, and on every text encoder's attention, which OpenCLIP keeps in thirds, and its projection."""
    path = tmp_path_factory.mktemp("lora") / "style.safetensors"
    family = load_family(pair[0])
    generator = torch.Generator().manual_seed(0)
    layers = {}

    def add(name, weight):
        down = torch.randn(2, *weight.shape[1:], generator=generator) * 0.2
        up = torch.randn(weight.shape[0], 2, *(1,) * (weight.ndim - 2), generator=generator) * 0.2
        layers[to_canonical_name(name)] = Layer(down, up, 1.0)

    for name in family.target_modules("locon"):
        add(f"unet.{name}", family.network.get_submodule(name).weight)
    for part, network in family.adaptable().items():
        for name, module in network.named_modules():
            if part != "unet" and name.endswith(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")):
                add(f"{part}.{name}", module.weight)
    write_lora(Adapter(layers), path, "diffusers")
    return path


def merged(settings, path, weight):
    """Every part's state with the LoRA on it: the reference."""
    family = load_family(settings)
    Merged(family.adaptable(), read_lora(path).adapter).set_weights(weight)
    return states(family)


def states(family):
    return {
        f"{part}.{name}": value
        for part, network in family.adaptable().items()
        for name, value in network.state_dict().items()
    }


def test_a_single_file_gets_what_a_folder_gets_and_stays_what_it_is(pair, lora, tmp_path):
    folder, single = pair
    expected = merged(folder, lora, 0.7)
    assert main(["merge", f"{lora}:0.7", "--into", folder.path, "--out", str(tmp_path / "folder")]) == 0
    found = states(load_family(folder.model_copy(update={"path": str(tmp_path / "folder")})))
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)

    hashed = tmp_path / "hashed.safetensors"
    metadata = {"modelspec.title": "mine", "modelspec.hash_sha256": "0xstale", "sshs_model_hash": "stale"}
    save_file(load_file(single.path), hashed, metadata)
    out = tmp_path / "single.safetensors"
    assert main(["merge", f"{lora}:0.7", "--into", str(hashed), "--out", str(out), "--config", folder.path]) == 0
    before, after = load_file(hashed), load_file(out)
    assert {k: (v.dtype, v.shape) for k, v in after.items()} == {k: (v.dtype, v.shape) for k, v in before.items()}
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"modelspec.title": "mine"}
    found = states(load_family(single_of(folder, out)))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("first_stage_model."))


def test_extract_takes_any_mix_of_files_and_folders(pair, lora, tmp_path):
    folder, single = pair
    tuned, file = tmp_path / "tuned", tmp_path / "tuned.safetensors"
    assert main(["merge", str(lora), "--into", folder.path, "--out", str(tuned)]) == 0
    assert main(["convert", str(tuned), str(file)]) == 0
    expected = read_lora(lora).adapter.layers
    for number, (base, after) in enumerate(
        [(folder.path, tuned), (single.path, file), (folder.path, file), (single.path, tuned)]
    ):
        out = tmp_path / f"{number}.safetensors"
        options = ["--rank", "2", "--precision", "fp32", "--config", folder.path]
        assert main(["extract", str(base), str(after), str(out), *options]) == 0
        found = read_lora(out).adapter.layers
        assert set(found) == set(expected)
        for name, layer in expected.items():
            torch.testing.assert_close(
                found[name].delta().flatten(1), layer.delta().flatten(1), rtol=1e-3, atol=1e-4, msg=name
            )


def test_a_pickle_is_a_base_only_where_that_is_allowed(pair, lora, tmp_path, capsys):
    folder, single = pair
    old, out = tmp_path / "old.ckpt", tmp_path / "out.safetensors"
    torch.save({"state_dict": load_file(single.path)}, old)
    arguments = ["merge", str(lora), "--into", str(old), "--out", str(out), "--config", folder.path]
    assert main(arguments) == 1 and not out.exists()
    assert "this is a pickle" in capsys.readouterr().err
    assert main([*arguments, "--allow-pickle"]) == 0
    again = tmp_path / "again.safetensors"
    assert main(["merge", str(lora), "--into", single.path, "--out", str(again), "--config", folder.path]) == 0
    assert equal(load_file(out), load_file(again))


@pytest.fixture
def style(tmp_path, micro_family):
    from tests.lora_files.conftest import random_adapter

    write_lora(random_adapter(micro_family), tmp_path / "style.safetensors", "kohya")
    return str(tmp_path / "style.safetensors")


@pytest.fixture
def half(tmp_path, micro_model):
    """The micro model in half precision, with what a hub's folder holds beside: pickles, a variant, a checker."""
    folder = tmp_path / "half"
    assert main(["convert", micro_model.path, str(folder), "--precision", "fp16"]) == 0
    shutil.copy(
        folder / "unet/diffusion_pytorch_model.safetensors", folder / "unet/diffusion_pytorch_model.non_ema.safetensors"
    )
    for name in ("unet/diffusion_pytorch_model.bin", "v1-5-pruned.ckpt", "safety_checker/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"unmerged")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_only_what_is_used_is_written(half, style, tmp_path):
    from diffusers import StableDiffusionPipeline

    out = tmp_path / "out"
    assert main(["merge", style, "--into", str(half), "--out", str(out)]) == 0
    kept = {path.relative_to(half).as_posix() for path in half.rglob("*") if path.is_file()}
    kept -= {
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "v1-5-pruned.ckpt",
        "safety_checker/model.safetensors",
    }
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == kept
    assert {value.dtype for value in weights_of(out / "unet").values()} == {torch.float16}
    assert StableDiffusionPipeline.from_pretrained(out, use_safetensors=True).safety_checker is None


def test_the_precision_asked_for_is_written(half, style, tmp_path):
    out = tmp_path / "out"
    assert main(["merge", style, "--into", str(half), "--out", str(out), "--precision", "fp32"]) == 0
    for part in ("unet", "vae", "text_encoder"):
        kinds = {value.dtype for value in weights_of(out / part).values() if value.is_floating_point()}
        assert kinds == {torch.float32}, part


def test_a_folder_with_a_variant_alone_is_taken_as_it_is(half, style, tmp_path):
    variant, out, plain = tmp_path / "variant", tmp_path / "out", tmp_path / "plain"
    assert main(["merge", style, "--into", str(half), "--out", str(plain)]) == 0
    (half / "unet/diffusion_pytorch_model.non_ema.safetensors").unlink()
    shutil.copytree(half, variant)
    for path in variant.glob("*/*model.safetensors"):
        path.rename(path.with_name(path.name.replace("model.", "model.fp16.")))
    assert main(["merge", style, "--into", str(variant), "--out", str(out)]) == 0
    for name in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (out / name).read_bytes() == (plain / name).read_bytes()
    found = tmp_path / "found.safetensors"
    assert main(["extract", str(variant), str(out), str(found), "--rank", "4"]) == 0
    assert set(read_lora(found).adapter.layers) == set(read_lora(Path(style)).adapter.layers)


def test_shards_become_one_file(half, style, tmp_path):
    plain, out = tmp_path / "plain", tmp_path / "out"
    assert main(["merge", style, "--into", str(half), "--out", str(plain)]) == 0
    whole = half / "unet/diffusion_pytorch_model.safetensors"
    tensors, where = load_file(whole), {}
    whole.unlink()
    for number in (0, 1):
        name = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        some = dict(sorted(tensors.items())[number::2])
        save_file(some, half / "unet" / name)
        where |= dict.fromkeys(some, name)
    index = half / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert main(["merge", style, "--into", str(half), "--out", str(out)]) == 0
    assert (out / "unet" / whole.name).read_bytes() == (plain / "unet" / whole.name).read_bytes()
    assert not list((out / "unet").glob("*index*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["STYLE:nan", "--into", "HALF"], "'nan' is no finite weight"),
        (["STYLE:inf"], "'inf' is no finite weight"),
        (["STYLE:1e7", "--into", "HALF"], "too large for float16"),
        (["STYLE", "--into", "HALF", "--to", "nonsense"], "--to: says how to write a LoRA"),
        (["STYLE", "--into", "HALF", "--rank", "1"], "--rank: says how to write a LoRA"),
        (["STYLE", "--into", "HALF", "--precision", "fp7"], "known: fp32, fp16, bf16"),
        (["STYLE", "--into", "nowhere"], "nowhere: no such file or folder"),
        (["STYLE", "--into", "nowhere.safetensors"], "no such file"),
        (["STYLE", "--into", "STYLE"], "this is a LoRA, no base model"),
        (["STYLE", "--into", "TMP"], "there is no folder unet in it"),
    ],
)
def test_mistakes_leave_nothing(half, style, tmp_path, capsys, arguments, said):
    names = {"STYLE": style, "HALF": str(half), "TMP": str(tmp_path)}
    for name, path in names.items():
        arguments = [text.replace(name, path) for text in arguments]
    before = sorted(tmp_path.iterdir())
    out = tmp_path / ("out" if Path(arguments[-1]).is_dir() or str(half) in arguments else "out.safetensors")
    assert main(["merge", *arguments, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error, error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("name", "said"), [("out.ckpt", "pickle"), ("out.safetensors", "a folder is written")])
def test_a_folder_is_not_written_under_a_files_name(half, style, tmp_path, capsys, name, said):
    base = half if name.endswith("safetensors") else tmp_path / "single.safetensors"
    if base != half:
        assert main(["convert", str(half), str(base)]) == 0
    capsys.readouterr()
    assert main(["merge", style, "--into", str(base), "--out", str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / name).exists()


def test_a_file_does_not_take_a_folders_place(half, style, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["merge", style, "--into", str(half), "--out", str(tmp_path / "out"), "--overwrite"]) == 1
    assert "is a file, and a folder is written" in capsys.readouterr().err
    (tmp_path / "taken.safetensors").mkdir()
    for arguments in (["merge", style, "--out"], ["convert", style], ["convert", str(half)]):
        assert main([*arguments, str(tmp_path / "taken.safetensors"), "--overwrite"]) == 1
        assert "is a folder, and a file is written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("base", "tuned", "said"),
    [
        ("HALF", "nowhere", "nowhere: no such file or folder"),
        ("nowhere", "HALF", "nowhere: no such file or folder"),
        ("HALF", "HALF", "no layer differs by more than 0.0001"),
        ("STYLE", "HALF", "this is a LoRA, no base model"),
        ("HALF", "models/tiny/sd", "has another shape than in"),
    ],
)
def test_extract_says_what_is_wrong(half, style, tmp_path, capsys, base, tuned, said):
    names = {"HALF": str(half), "STYLE": style}
    out = tmp_path / "out.safetensors"
    assert main(["extract", names.get(base, base), names.get(tuned, tuned), str(out), "--rank", "2"]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not out.exists()


def test_memory_need_not_hold_the_model(tmp_path):
    count, side = 40, 1024  # 160 MiB in tensors of 4
    folder = tmp_path / "big"
    (folder / "unet").mkdir(parents=True)
    weights = {f"down_blocks.{number}.to_q.weight": torch.zeros(side, side) for number in range(count)}
    save_file(weights, folder / "unet/diffusion_pytorch_model.safetensors")
    del weights
    script = f"""
import torch
from pathlib import Path
from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.tools.merge_into_base import merge_into_base
def layer():
    return Layer(torch.ones(1, {side}), torch.ones({side}, 1), 1.0)
adapter = Adapter({{f"unet.down_blocks.{{number}}.to_q": layer() for number in range({count})}})
torch.zeros({side}, 1) @ torch.zeros(1, {side})  # what the first product sets up
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew, at what is in use
before = peak()
assert merge_into_base(Path({str(folder)!r}), [(adapter, 1.0)], Path({str(tmp_path / "out")!r})) == {count}
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 60  # MiB; the whole file is 160
    with safe_open(tmp_path / "out/unet/diffusion_pytorch_model.safetensors", "pt") as file:
        assert float(file.get_tensor("down_blocks.39.to_q.weight").min()) == 1


def test_a_lora_in_stabilitys_names_is_merged_alike_for_every_family(pair, lora, tmp_path):
    adapter = read_lora(lora).adapter
    unet = Adapter({name: layer for name, layer in adapter.layers.items() if name.startswith("unet.")})
    attention = (0, 1) if pair[0].family == "sdxl" else (1, 2, 3)

    def name_of(module: str) -> str:
        path = to_original_module(module.removeprefix("unet."), 2, attention)
        return "lora_unet_" + path.replace(".", "_")

    save_file(kohya_form.make_tensors(unet, name_of), tmp_path / "sgm.safetensors")
    write_lora(unet, tmp_path / "ours.safetensors", "diffusers")
    for name in ("sgm", "ours"):
        file, out = str(tmp_path / f"{name}.safetensors"), str(tmp_path / name)
        assert main(["merge", file, "--into", pair[0].path, "--out", out]) == 0
    merged, expected = (
        load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors") for name in ("sgm", "ours")
    )
    for key, value in expected.items():
        torch.testing.assert_close(merged[key], value, msg=key)
