"""Evaluating a LoRA file from anywhere: the same numbers as the pipeline's own report of it."""

import shutil

import pytest

from lorakiln.artefacts.json_files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
JUDGE = ("python", "-m", "pipelines.judge")
# A dataset of its own in the cache: other tests look at when theirs is made.
EXPERIMENT = ("+experiment=smoke", "prepare.enlarged_above=3")


@pytest.fixture(scope="module")
def run(project):
    """What `python -m train` made, and the experiment that it made it of."""
    project.run("python", "-m", "train", *EXPERIMENT, "hydra.run.dir=runs/to_judge")
    return project.folder / "runs/to_judge"


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_a_file_is_judged_as_the_pipeline_judges_its_own(project, run, form):
    source = {"kohya": "demo_style.safetensors", "diffusers": "diffusers/pytorch_lora_weights.safetensors"}[form]
    file = project.folder / f"{form}.safetensors"
    shutil.copyfile(run / "lora" / source, file)
    project.run(*JUDGE, file.name, *EXPERIMENT)
    report = project.folder / "runs/judged" / form / "report"
    told, own = read_json(report / "metrics.json"), read_json(run / "report/metrics.json")
    # Which pictures a file from elsewhere has not seen is not known.
    for numbers in (own, own["without_trigger"]):
        del numbers["held_out_similarity"]
    assert told == own
    page = (report / "report.html").read_text()
    assert "a file from elsewhere" in page and f"python -m pipelines.judge {file.name}" in page


def test_what_is_no_lora_is_told(project):
    assert "no such file" in project.run(*JUDGE, "none.safetensors", *EXPERIMENT, status=1)
    told = project.run(*JUDGE, "models/tiny/sd/unet/diffusion_pytorch_model.safetensors", *EXPERIMENT, status=1)
    assert "error: " in told and "Traceback" not in told
