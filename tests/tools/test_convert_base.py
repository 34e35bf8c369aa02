"""`lorakiln convert` for base models: there and back gives the same weights, and nothing of the user's is lost."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.cli import main
from lorakiln.families import load_family
from tests.conftest import write_micro_model
from tests.families.reduced import write_reduced
from tests.families.single_files import equal, weights_of

PARTS = {"sd15": ("vae", "text_encoder", "unet"), "sd21_v": ("vae", "text_encoder", "unet")}
PARTS["sdxl"] = ("vae", "text_encoder", "text_encoder_2", "unet")


@pytest.fixture(scope="session", params=PARTS)
def base(request, tmp_path_factory):
    """Kind and folder of a reduced model."""
    folder = tmp_path_factory.mktemp("base") / request.param
    write_micro_model(folder) if request.param == "sd15" else write_reduced(folder, request.param)
    return request.param, folder


def test_there_and_back(base, tmp_path, capsys):
    kind, folder = base
    file, back = tmp_path / "single.safetensors", tmp_path / "back"
    assert main(["convert", str(folder), str(file)]) == 0
    assert main(["convert", str(file), str(back), "--config", str(folder)]) == 0
    assert "v_prediction" in capsys.readouterr().out or kind != "sd21_v"
    for part in PARTS[kind]:
        assert equal(weights_of(back / part), weights_of(folder / part)), part
    again = tmp_path / "again.safetensors"
    assert main(["convert", str(back), str(again)]) == 0
    assert again.read_bytes() == file.read_bytes()
    # And diffusers itself opens what was made.
    pipeline = DiffusionPipeline.from_pretrained(back, use_safetensors=True)
    assert equal(pipeline.unet.state_dict(), load_file(folder / "unet/diffusion_pytorch_model.safetensors"))


def test_half_precision_is_asked_for(base, tmp_path):
    _, folder = base
    file = tmp_path / "half.safetensors"
    assert main(["convert", str(folder), str(file), "--precision", "fp16"]) == 0
    assert {value.dtype for value in load_file(file).values()} == {torch.float16}
    whole = tmp_path / "whole.safetensors"
    assert main(["convert", str(folder), str(whole)]) == 0
    assert main(["convert", str(whole), str(tmp_path / "half too.safetensors"), "--precision", "fp16"]) == 0
    assert equal(load_file(file), load_file(tmp_path / "half too.safetensors"))


def test_a_pickle_becomes_safetensors_and_never_the_other_way(tmp_path, micro_model, capsys):
    file, old = tmp_path / "single.safetensors", tmp_path / "old.ckpt"
    assert main(["convert", micro_model.path, str(file)]) == 0
    tensors, _ = load_tensors(file)
    torch.save({"state_dict": tensors, "optimizer_states": [{"step": 3}]}, old)
    out = tmp_path / "new.safetensors"
    assert main(["convert", str(old), str(out)]) == 1 and not out.exists()
    assert "allow_pickle" in capsys.readouterr().err
    assert main(["convert", str(old), str(out), "--allow-pickle"]) == 0
    assert equal(load_file(out), tensors)
    for ending in (".ckpt", ".pt"):
        assert main(["convert", str(file), str(tmp_path / f"out{ending}")]) == 1
        assert f"{ending} is a pickle" in capsys.readouterr().err
        assert not (tmp_path / f"out{ending}").exists()


def test_nothing_is_overwritten_unasked(tmp_path, micro_model, capsys):
    file, folder = tmp_path / "single.safetensors", tmp_path / "folder"
    file.write_text("mine")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for out in (file, folder):
        assert main(["convert", micro_model.path, str(out)]) == 1
        assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine" and (folder / "mine.txt").read_text() == "mine"
    assert main(["convert", micro_model.path, str(file), "--overwrite"]) == 0
    assert "model.diffusion_model.out.2.bias" in load_file(file)


def test_a_folder_with_a_variant_alone_is_converted(tmp_path, micro_model):
    variant = tmp_path / "variant"
    shutil.copytree(micro_model.path, variant)
    for path in variant.glob("*/*model.safetensors"):
        path.rename(path.with_name(path.name.replace("model.", "model.fp16.")))
    for source, out in ((variant, "a.safetensors"), (Path(micro_model.path), "b.safetensors")):
        assert main(["convert", str(source), str(tmp_path / out)]) == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_mistyped_ending_makes_no_folder(tmp_path, micro_model, capsys):
    assert main(["convert", micro_model.path, str(tmp_path / "out.safetensor")]) == 1
    assert ".safetensor is no ending that is known" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["convert", micro_model.path, str(tmp_path / "v1.5")]) == 0
    assert (tmp_path / "v1.5/model_index.json").exists()


def test_a_model_with_more_latent_channels_is_read_as_it_was_written(tmp_path):
    """The tiny model's VAE makes 8 channels, as many as InstructPix2Pix' UNet takes where the VAE makes 4."""
    file, back = tmp_path / "tiny.safetensors", tmp_path / "back"
    assert main(["convert", "models/tiny/sd", str(file)]) == 0
    assert main(["convert", str(file), str(back), "--config", "models/tiny/sd"]) == 0
    for part in PARTS["sd15"]:
        assert equal(weights_of(back / part), weights_of(Path("models/tiny/sd") / part)), part


def test_what_cannot_be_done_is_told_and_leaves_nothing(tmp_path, micro_model, capsys):
    file, out = tmp_path / "single.safetensors", tmp_path / "folder"
    assert main(["convert", micro_model.path, str(file), "--to", "kohya"]) == 1
    assert "--to: is for LoRA files" in capsys.readouterr().err
    assert main(["convert", micro_model.path, str(file)]) == 0
    # Its sizes are not the family's, and nobody lends the true ones.
    assert main(["convert", str(file), str(out)]) == 1
    assert "fix:" in capsys.readouterr().err
    tensors, metadata = load_tensors(file)
    tensors.pop("model.diffusion_model.out.2.bias")
    save_file(tensors, tmp_path / "less.safetensors", metadata)
    assert main(["convert", str(tmp_path / "less.safetensors"), str(out), "--config", micro_model.path]) == 1
    assert "lacks 1 tensors of its UNet2DConditionModel" in capsys.readouterr().err
    assert main(["convert", micro_model.path, str(file), "--prediction", "x0", "--overwrite"]) == 1
    assert "known: epsilon, v_prediction" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["less.safetensors", "single.safetensors"]


def test_sdxl_with_v_prediction_says_so_as_a1111_and_comfyui_read_it(tmp_path):
    import json

    folder = write_reduced(tmp_path / "sdxl", "sdxl")
    config = folder / "scheduler/scheduler_config.json"
    more = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    config.write_text(json.dumps(json.loads(config.read_text()) | more))
    file = tmp_path / "v.safetensors"
    assert main(["convert", str(folder), str(file)]) == 0
    assert {"v_pred", "ztsnr"} <= set(load_file(file))


def test_a_converted_folder_trains_like_its_source(tmp_path, micro_model):
    out = tmp_path / "folder"
    assert main(["convert", micro_model.path, str(out), "--precision", "fp32"]) == 0
    found = load_family(micro_model.model_copy(update={"path": str(out)}))
    told = found.encode_prompts(["a cat"])
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    # Loaded anew as well: a shared one may have drawn since, with its convolutions in another memory format.
    source = load_family(micro_model)
    expected = source.predict(latents, torch.tensor([500]), source.encode_prompts(["a cat"]))
    assert torch.equal(found.predict(latents, torch.tensor([500]), told), expected)
    assert Path(out / "tokenizer/vocab.json").exists()
