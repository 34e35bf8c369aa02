"""Each family from pictures to a report, on a reduced random model, with the config files of the full one."""

import pytest
import yaml
from safetensors import safe_open

from tests.families.reduced import write_reduced

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("kind", "version", "first"),
    [
        ("sd15", "sd_v1", "lora_unet_down_blocks_0"),
        ("sd21", "sd_v2", "lora_unet_down_blocks_0"),
        ("sd21_v", "sd_v2_v", "lora_unet_down_blocks_0"),
        ("sdxl", "sdxl_base_v1-0", "lora_unet_input_blocks_4"),
    ],
)
def test_from_pictures_to_a_report(project, tmp_path, kind, version, first):
    model = write_reduced(tmp_path / kind, kind)
    overrides = [
        f"model={kind}",
        f"model.path={model}",
        "model.resolution=64",
        "model.bucket_min=32",
        "model.bucket_max=128",
        "model.bucket_step=32",
        "model.captioner.path=models/tiny/blip",
        "model.clip.path=models/tiny/clip",
        "train.steps=3",
        "train.save_every=0",
        "train.validation.every=3",
        "train.samples.every=3",
        f"hydra.run.dir=runs/{kind}",
    ]
    project.run("python", "-m", "train", "+experiment=smoke", *overrides)
    folder = project.folder / "runs" / kind
    assert (folder / "report/report.html").is_file()
    with safe_open(folder / "lora/demo_style.safetensors", framework="pt") as file:
        metadata, keys = file.metadata(), list(file.keys())
    assert metadata["ss_base_model_version"] == version
    assert metadata["modelspec.prediction_type"] == ("v" if kind == "sd21_v" else "epsilon")
    assert any(key.startswith(first) for key in keys)
    resolved = yaml.safe_load((folder / "resolved.yaml").read_text())
    assert resolved["model"]["family"] == ("sdxl" if kind == "sdxl" else "sd")
