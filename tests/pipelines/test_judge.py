"""Evaluating a LoRA file from anywhere: the same numbers as the pipeline's own report of it."""

import shutil
import sys

import pytest

from lorakiln.artefacts.records import read_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
JUDGE = (sys.executable, "-m", "pipelines.judge")


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_a_file_is_judged_as_the_pipeline_judges_its_own(reproduced, form):
    source = {"kohya": "demo_style.safetensors", "diffusers": "diffusers/pytorch_lora_weights.safetensors"}[form]
    file = reproduced.folder / f"{form}.safetensors"
    shutil.copyfile(reproduced.folder / "outputs/lora" / source, file)
    reproduced.run(*JUDGE, file.name, "+experiment=smoke")
    report = reproduced.folder / "runs/judged" / form / "report"
    assert read_json(report / "metrics.json") == read_json(reproduced.folder / "outputs/report/metrics.json")
    page = (report / "report.html").read_text()
    assert "a file from elsewhere" in page and f"python -m pipelines.judge {file.name}" in page


def test_what_is_no_lora_is_told(reproduced):
    assert "no such file" in reproduced.run(*JUDGE, "none.safetensors", "+experiment=smoke", status=1)
    told = reproduced.run(
        *JUDGE, "models/tiny/sd/unet/diffusion_pytorch_model.safetensors", "+experiment=smoke", status=1
    )
    assert "error: " in told and "Traceback" not in told
