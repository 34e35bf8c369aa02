"""Which base model a command means."""

import json

import pytest

from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_versions
from lorakiln.families.weights_file import WeightsFile
from lorakiln.tools import model_settings
from lorakiln.tools.model_settings import CHECKOUT, find_model_settings, make_model_settings


def write_folder(folder, sample_size, levels=4, more=()):
    for part in ("unet", "vae", "text_encoder", *more):
        (folder / part).mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"sample_size": sample_size}))
    (folder / "vae" / "config.json").write_text(json.dumps({"block_out_channels": [8] * levels}))
    return folder


@pytest.mark.parametrize(
    ("sample_size", "levels", "more", "family", "side"),
    [(64, 4, [], "sd", 512), (96, 4, [], "sd", 768), (128, 4, ["text_encoder_2"], "sdxl", 1024), (8, 3, [], "sd", 32)],
)
def test_a_folder_says_its_family_and_size(tmp_path, sample_size, levels, more, family, side):
    base = str(write_folder(tmp_path / "base", sample_size, levels, more))
    for found in (make_model_settings(base), find_model_settings(None, base)):
        assert (found.family, found.path, found.resolution) == (family, base, side)


@pytest.mark.parametrize(("kind", "family", "side"), [("sd1", "sd", 512), ("sd2", "sd", 768), ("sdxl", "sdxl", 1024)])
def test_a_single_file_too(monkeypatch, kind, family, side):
    monkeypatch.setattr(model_settings, "open_weights_file", lambda path, allow_pickle: WeightsFile(path, {}, {}))
    version = next(one for one in list_versions() if one.name == kind)
    monkeypatch.setattr(model_settings, "recognise_file", lambda checkpoint: version)
    found = make_model_settings("base.safetensors")
    assert (found.family, found.resolution) == (family, side)


def test_what_is_no_base_model_is_told(tmp_path, monkeypatch):
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match="this is FluxPipeline"):
        make_model_settings(str(tmp_path / "flux"))
    monkeypatch.setattr(
        model_settings, "open_weights_file", lambda path, allow_pickle: WeightsFile(path, {"lora_a": 0}, {})
    )
    with pytest.raises(UserError, match="this is a LoRA, no base model"):
        make_model_settings("style.safetensors")


def test_the_checkouts_own_model_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_model_settings(None, None)
    assert [found.path, found.clip.path] == [str(CHECKOUT / "models/tiny" / name) for name in ("sd", "clip")]
    # The project's own come first.
    (tmp_path / "conf" / "model").mkdir(parents=True)
    text = (CHECKOUT / "conf/model/sdxl.yaml").read_text().replace("resolution: 1024", "resolution: 640")
    (tmp_path / "conf" / "model" / "sdxl.yaml").write_text(text)
    assert find_model_settings("sdxl", None).resolution == 640
    assert find_model_settings("sd15", "mine").path == "mine"


def test_unknown_names_get_the_known_ones():
    with pytest.raises(UserError, match=r"no such model: sd99\n.*sd15, sd21, sd21_v, sdxl, tiny"):
        find_model_settings("sd99", None)
    with pytest.raises(UserError, match=r"mine\.yaml: no such file"):
        find_model_settings("mine.yaml", None)
