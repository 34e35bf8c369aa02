"""The `lorakiln` command through its own door: what it writes, what it prints, how it ends."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.cli import main
from lorakiln.families import load_family
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from tests.lora_files.conftest import ALPHAS, RANKS, predict, predict_merged, random_adapter


@pytest.fixture
def file(tmp_path, micro_family):
    path = tmp_path / "style.safetensors"
    adapter = random_adapter(micro_family, RANKS, ALPHAS)
    write_lora(Adapter(adapter.layers, {"ss_output_name": "style", "ss_unet_lr": "0.0001"}), path, "kohya")
    return path


def test_inspect_says_what_a_file_is(file, capsys):
    assert main(["inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    adapter = read_lora(file).adapter
    assert found["form"] == "kohya"
    assert set(found["ranks"]) == {"2", "3", "4"} and set(found["alphas"]) == {"1", "2", "3", "4"}
    norms = {layer["name"]: layer["norm"] for layer in found["layers"]}
    for name, layer in adapter.layers.items():
        assert norms[name] == pytest.approx(layer.delta().norm().item(), rel=1e-4)
    assert f"train.adapter.init_from={file}" in found["retrain"]
    assert "train.adapter.targets=kohya" in found["retrain"] and "train.optimizer.lr=0.0001" in found["retrain"]
    assert main(["inspect", str(file), "--layers"]) == 0
    text = capsys.readouterr().out
    assert "ss_output_name: style" in text and all(name in text for name in adapter.layers)


def test_convert_keeps_what_every_layer_does(file, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(file), str(out), "--to", "diffusers", "--precision", "fp16"]) == 0
    before, after = read_lora(file).adapter, read_lora(out)
    assert after.form == "diffusers"
    for name, layer in before.layers.items():
        torch.testing.assert_close(after.adapter.layers[name].delta(), layer.delta(), rtol=5e-3, atol=5e-3)
    # Nothing is overwritten unless it is asked for.
    content = out.read_bytes()
    assert main(["convert", str(file), str(out)]) == 1
    assert "is there already" in capsys.readouterr().err and out.read_bytes() == content
    assert main(["convert", str(file), str(out), "--overwrite"]) == 0
    assert read_lora(out).form == "kohya"


def test_one_part_of_a_lora(tmp_path, capsys):
    layer = Layer(torch.ones(1, 4), torch.ones(4, 1), 1.0)
    names = ["unet.mid_block.attentions.0.proj_in", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"]
    write_lora(Adapter(dict.fromkeys(names, layer)), tmp_path / "both.safetensors", "kohya")
    convert = ["convert", str(tmp_path / "both.safetensors"), str(tmp_path / "out.safetensors")]
    assert main([*convert, "--only", "unet"]) == 0
    assert list(read_lora(tmp_path / "out.safetensors").adapter.layers) == names[:1]
    assert main([*convert, "--only", "network", "--overwrite"]) == 1
    assert "--only: it has no layer of 'network'\n  fix: its parts: text_encoder, unet" in capsys.readouterr().err


def test_a_merge_into_the_base_predicts_as_base_and_lora_do(file, tmp_path, micro_model):
    family = load_family(micro_model)
    expected, base = predict_merged(family, read_lora(file).adapter, 0.7), predict(family.network)
    assert main(["merge", f"{file}:0.7", "--into", micro_model.path, "--out", str(tmp_path / "merged")]) == 0
    merged = load_family(micro_model.model_copy(update={"path": str(tmp_path / "merged")}))
    torch.testing.assert_close(predict(merged.network), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, base, atol=1e-2)
    # And the way back: the LoRA between the two, at the rank that it had.
    out = tmp_path / "again.safetensors"
    assert (
        main(["extract", micro_model.path, str(tmp_path / "merged"), str(out), "--rank", "4", "--precision", "fp32"])
        == 0
    )
    torch.testing.assert_close(predict_merged(family, read_lora(out).adapter), expected, rtol=1e-3, atol=1e-3)


def test_merged_loras_add_up_and_resize_cuts_them_down(file, tmp_path, micro_model):
    family = load_family(micro_model)
    both, small = tmp_path / "both.safetensors", tmp_path / "small.safetensors"
    assert main(["merge", f"{file}:0.5", f"{file}:0.25", "--out", str(both)]) == 0
    expected = predict_merged(family, read_lora(file).adapter, 0.75)
    torch.testing.assert_close(predict_merged(family, read_lora(both).adapter), expected, rtol=1e-3, atol=1e-3)
    assert main(["resize", str(both), str(small), "--rank", "4"]) == 0
    # Twice the same directions: half the rank holds all of it.
    torch.testing.assert_close(predict_merged(family, read_lora(small).adapter), expected, rtol=1e-3, atol=1e-3)
    assert read_lora(small).adapter.metadata["ss_network_dim"] == "4"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("fp16",), torch.float16),
        (("bf16",), torch.bfloat16),
        (("fp16", "fp16"), torch.float16),
        (("fp16", "bf16"), torch.float32),
        (("fp16", "fp32"), torch.float32),
    ],
)
def test_resize_and_merge_keep_the_precision(file, tmp_path, kinds, expected):
    files = []
    for number, kind in enumerate(kinds):
        files.append(str(tmp_path / f"{number}.safetensors"))
        assert main(["convert", str(file), files[-1], "--precision", kind]) == 0
    out = tmp_path / "out.safetensors"
    assert main(["merge", *files, "--out", str(out)]) == 0
    assert {value.dtype for value in load_file(out).values()} == {expected}
    assert main(["merge", *files, "--out", str(out), "--precision", "fp32", "--overwrite"]) == 0
    assert {value.dtype for value in load_file(out).values()} == {torch.float32}
    if len(kinds) == 1:
        assert main(["resize", *files, str(out), "--rank", "2", "--overwrite"]) == 0
        assert {value.dtype for value in load_file(out).values()} == {expected}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "nothing.safetensors"], "no such file"),
        (["convert", "FILE", "out.ckpt"], "pickle"),
        (["convert", "FILE", "out.safetensors", "--to", "onnx"], "known: kohya, diffusers, peft"),
        (["convert", "FILE", "out.safetensors", "--precision", "fp8"], "known: fp32, fp16, bf16"),
        (["resize", "FILE", "o.safetensors", "--rank", "4", "--sv-fro", "2"], r"--sv-fro: 2 is not in \(0, 1\]"),
        (["resize", "FILE", "o.safetensors", "--rank", "4", "--sv-fro", ".9", "--sv-ratio", "3"], "exclude each other"),
        (["resize", "FILE", "o.safetensors", "--rank", "4", "--sv-ratio", "nan"], "--sv-ratio: nan is not above 1"),
        (["convert", "FILE", "FILE/o.safetensors"], "is a file, so that nothing can be in it"),
        (["inspect", "/dev/null"], "a device, not a regular file"),
        (["merge", "FILE:much", "--out", "o.safetensors"], "'much' is no weight"),
    ],
)
def test_mistakes_get_one_line_and_status_1(file, capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([text.replace("FILE", str(file)) for text in arguments]) == 1
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert error.startswith("error: ") and "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


def test_files_and_folders_do_not_take_each_others_place(file, tmp_path, capsys, micro_model):
    folder, plain = tmp_path / "folder.safetensors", tmp_path / "plain"
    folder.mkdir()
    plain.write_text("x")
    before = sorted(tmp_path.iterdir())
    for arguments, said in (
        (["convert", str(file), str(folder), "--overwrite"], "is a folder, and a file is written"),
        (["convert", micro_model.path, str(folder), "--overwrite"], "is a folder, and a file is written"),
        (["convert", str(file), str(plain), "--to", "peft", "--overwrite"], "is a file, and a folder is written"),
        (["merge", str(file), "--into", micro_model.path, "--out", str(plain), "--overwrite"], "is a file, and a"),
        (["generate", "x", "--out", str(plain), "--overwrite"], "is a file, and a folder is written"),
        (["convert", str(file), str(file / "x.safetensors")], "style.safetensors: is a file, so that"),
        (["convert", str(file), str(file / "far/x.safetensors")], "style.safetensors: is a file, so that"),
        (["inspect", "/dev/null"], "a device, not a regular file"),
    ):
        assert main(arguments) == 1
        assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before and plain.read_text() == "x" and not list(folder.iterdir())


def test_a_lora_of_another_base_is_not_merged(file, tmp_path, capsys):
    assert main(["merge", str(file), "--into", "models/tiny/sd", "--out", str(tmp_path / "x")]) == 1
    assert "use the base model that the LoRA was trained on" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_wrong_usage_is_status_2():
    done = subprocess.run(
        [sys.executable, "-m", "lorakiln", "resize"],
        env={**os.environ, "PYTHONPATH": "src"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Missing argument" in done.stderr
