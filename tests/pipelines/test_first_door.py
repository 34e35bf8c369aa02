"""`dvc repro`, from pictures to the report, and what reruns after an edit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.pipelines.killed_dvc import TORN, kill_all, killed, made, mend, wait_for_reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN_ON = ["train", "choose", "export", "evaluate"]
DATA_ON = ["prepare", "caption", "encode", *TRAIN_ON]


def test_every_folder_is_what_the_design_says(reproduced):
    outputs = reproduced.folder / "outputs"
    for name in ("prepared", "captioned"):
        rows = [json.loads(line) for line in (outputs / name / "metadata.jsonl").read_text().splitlines()]
        assert len(rows) == 24 and all((outputs / name / row["file_name"]).is_file() for row in rows)
    assert all(row["text"] for row in rows)
    assert {row["caption_source"] for row in rows} == {"blip", "file"}
    assert {row["bucket"] for row in rows} == set(
        json.loads((outputs / "prepared/dataset.json").read_text())["buckets"]
    )
    page = (outputs / "captioned.html").read_text()
    assert "6 = 1.091 epochs of 5.5 steps; each picture is seen 1.091 times" in page
    assert (outputs / "lora/demo_style.safetensors").is_file() and (outputs / "lora/README.md").is_file()
    assert (outputs / "report/report.html").stat().st_size > 50_000
    assert len(list((outputs / "report/grids").glob("*.png"))) == 3
    assert list((outputs / "run/adapters").iterdir()) and list((outputs / "run/samples").rglob("*.png"))


def test_a_second_repro_runs_nothing(reproduced):
    # What file managers leave behind is no change either.
    (reproduced.folder / "data/raw/demo_style/Thumbs.db").write_bytes(b"x")
    assert reproduced.repro() == []


@pytest.mark.parametrize("stage", ["prepare", "caption", "encode", "choose", "export", "evaluate"])
def test_a_stage_without_work_loads_nothing_that_computes(reproduced, stage):
    """DVC has put other files in the outputs' place, of the same content."""
    told = f"""
        import atexit, runpy, sys
        large = {{"torch", "diffusers", "transformers", "lightning", "peft", "numpy", "huggingface_hub", "matplotlib"}}
        atexit.register(lambda: print("loaded:", *sorted(large & sys.modules.keys())))
        runpy.run_module("pipelines.{stage}", run_name="__main__", alter_sys=True)
    """
    outputs = reproduced.folder / "outputs"
    before = {path: path.stat().st_mtime_ns for path in outputs.rglob("[!.]*") if path.is_file()}
    command = [sys.executable, "-c", textwrap.dedent(told)]
    done = subprocess.run(
        command, cwd=reproduced.folder, env=reproduced.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.endswith("\nloaded:\n"), done.stdout + done.stderr
    assert f"{stage}: nothing has changed since outputs/" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in outputs.rglob("[!.]*") if path.is_file()}


def test_dvc_shows_the_metrics_that_matter(reproduced):
    every = json.loads((reproduced.folder / "outputs/report/metrics.json").read_text())
    (heads, numbers) = reproduced.run("dvc", "metrics", "show").splitlines()
    assert heads.split() == ["Path", "likeness", "obedience"]
    means = [every[name]["w1.00"]["mean"] for name in ("image_similarity", "clip_score")]
    assert [float(number) for number in numbers.split()[1:]] == [pytest.approx(mean, abs=1e-4) for mean in means]
    # A demo has two more, of names as long as these.
    assert len(heads) + len("    right_style    right_thing") <= 80
    changes = reproduced.run("dvc", "metrics", "diff", "--all")
    assert changes.count("outputs/report/scores.json") == 2 and "metrics.json" not in changes


def test_dvc_draws_its_plots_without_a_network(reproduced):
    before = reproduced.run("git", "status", "--short")
    assert "file://" in reproduced.run("dvc", "plots", "show")
    page = (reproduced.folder / "dvc_plots/index.html").read_text()
    assert not re.search(r"(?:src|href)\s*=", page)
    for name in ("training_loss", "validation_loss", "likeness_by_weight", "obedience_by_weight"):
        assert f"vegaEmbed('#{name}', spec)" in page
    assert reproduced.run("git", "status", "--short") == before


@pytest.mark.skipif(not shutil.which("node"), reason="needs a program that runs JavaScript")
def test_the_curves_in_the_plots_are_those_of_the_run(reproduced):
    reproduced.run("dvc", "plots", "show")
    program = reproduced.folder / "cache" / "page.js"
    program.write_text(
        """
        const page = require("fs").readFileSync("dvc_plots/index.html", "utf8"), boxes = {};
        global.document = { querySelector: selector => (boxes[selector] ??= {}) };
        const scripts = [...page.matchAll(/<script[^>]*>([\\s\\S]*?)<\\/script>/g)].map(found => found[1]);
        (0, eval)(scripts.join("\\n"));
        console.log(JSON.stringify(boxes));
        """
    )
    boxes = json.loads(reproduced.run("node", "cache/page.js"))
    rows = (reproduced.folder / "outputs/run/validation.csv").read_text().splitlines()[1:]
    step, loss = map(float, rows[-1].split(","))
    drawn = boxes["#validation_loss"]["innerHTML"]
    assert f"{loss:.4g} at {step:g}" in drawn
    points = [tuple(map(float, one.split(","))) for one in re.search(r'points="([^"]*)"', drawn)[1].split()]
    losses = [float(row.split(",")[1]) for row in rows]
    assert len(points) == len(rows) == 3
    # The largest loss stands highest: pixels count downwards.
    assert points[losses.index(max(losses))][1] == 12 and points[losses.index(min(losses))][1] == 226


def test_the_exported_lora_changes_diffusers_prediction_as_the_trained_adapter_does(reproduced):
    from diffusers import StableDiffusionPipeline

    from lorakiln.families import load_family
    from lorakiln.lora_files import diffusers_form
    from lorakiln.lora_files.merging import Merged
    from lorakiln.schema.model import ModelSettings, Source

    base = reproduced.folder / "models/tiny"
    clip = Source(path=str(base / "clip"))
    model = ModelSettings(
        family="sd",
        path=str(base / "sd"),
        resolution=64,
        bucket_min=32,
        bucket_max=128,
        bucket_step=16,
        captioner=clip,
        clip=clip,
    )
    family = load_family(model)
    prompt = family.encode_prompts(["a cat, outline style, blue background"])
    latents = torch.randn(1, *family.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([500])
    with torch.no_grad():
        before = family.predict(latents, steps, prompt)
        (adapter,) = (reproduced.folder / "outputs/run/adapters").glob("*00006.safetensors")
        Merged(family.adaptable(), diffusers_form.load(adapter)).set_weights(1.0)
        trained = family.predict(latents, steps, prompt)
        lora = reproduced.folder / "outputs/lora"
        for folder, name in (
            (lora, "demo_style.safetensors"),
            (lora / "diffusers", "pytorch_lora_weights.safetensors"),
        ):
            pipe = StableDiffusionPipeline.from_pretrained(base / "sd", safety_checker=None, use_safetensors=True)
            pipe.load_lora_weights(folder, weight_name=name)
            loaded = pipe.unet(latents, steps, prompt["prompt_embeds"]).sample
            # The files are float16; the change itself must be there, and be the same.
            assert (loaded - trained).norm() < 5e-3 * (trained - before).norm(), name
    assert (trained - before).norm() > 1e-4 * before.norm()


def test_no_file_holds_a_path_of_this_machine(reproduced):
    lora = reproduced.folder / "outputs/lora"
    for path in lora.rglob("*"):
        if path.is_file():
            assert str(reproduced.folder).encode() not in path.read_bytes(), path


# The edits are made one after the other in the same checkout.
@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("conf/experiment/smoke.yaml", "# Seconds", "# Few seconds", ["compose"]),
        ("conf/experiment/smoke.yaml", "every: 6, steps: 2", "every: 6, steps: 3", ["compose", *TRAIN_ON]),
        ("params.yaml", "overrides: []", 'overrides: ["evaluate.guidance=4.0"]', ["compose", "choose", "evaluate"]),
        (
            "params.yaml",
            '"evaluate.guidance=4.0"',
            '"evaluate.guidance=4.0", "export.license=mit"',
            ["compose", "export", "evaluate"],
        ),
        (
            "params.yaml",
            '"export.license=mit"',
            '"export.license=mit", "train.optimizer.lr=5e-4"',
            ["compose", *TRAIN_ON],
        ),
    ],
    ids=["comment", "samples", "evaluate", "export", "learning rate"],
)
def test_what_reruns(reproduced, file, old, new, stages):
    reproduced.edit(file, old, new)
    assert reproduced.repro() == stages


def test_dvc_killed_again_and_again_leaves_whole_folders_and_goes_on(reproduced):
    # A caption changes everything but compose; a comment, compose.
    reproduced.edit("data/raw/demo_style/rocket.txt", "rocket", "red rocket")
    reproduced.edit("conf/experiment/smoke.yaml", "from end to end", "from pictures to report")
    old, between, ran, random = made(reproduced), [], set(), np.random.default_rng(48)
    for stage, longest in (("compose", 1), ("encode", 3), ("train", 5), ("evaluate", 5)):
        ran.update(killed(reproduced, stage, random.uniform(0, longest)))
        between.append(made(reproduced))
    ran.update(reproduced.repro())
    assert ran == {"compose", *DATA_ON}
    assert reproduced.repro() == []
    new = made(reproduced)
    assert old.keys() == new.keys() and sum(old[name] != new[name] for name in new) > 3
    for found in between:
        for name in new:
            assert found[name] in (old[name], new[name]), name
    assert {path.suffix for path in (reproduced.folder / "outputs").glob(".*.*")} == {".made"}


def test_a_lock_that_dvc_was_killed_over_is_mended_by_the_copy(reproduced):
    lock, copy = reproduced.folder / "dvc.lock", reproduced.folder / "outputs/.dvc_lock"
    reproduced.repro()
    whole, old = lock.read_bytes(), made(reproduced)
    reproduced.run("python", "-c", TORN, "repro", "-f", "-s", "export", status=-signal.SIGKILL)
    assert lock.read_bytes() == b"" and copy.read_bytes() == whole
    assert "dvc.lock' validation failed" in reproduced.run("dvc", "repro", status=255)
    mend(reproduced)
    assert lock.read_bytes() == whole
    assert reproduced.repro() == [] and made(reproduced) == old


def test_a_torn_list_of_what_dvc_works_on_may_be_removed(reproduced):
    held = reproduced.folder / ".dvc/tmp/rwlock"
    assert reproduced.repro() == [] and held.exists()
    held.write_text("")
    assert "JSON structure is corrupted" in reproduced.run("dvc", "repro", status=255)
    mend(reproduced)
    assert reproduced.repro() == []


def test_one_more_picture_and_a_changed_caption_are_prepared_captioned_and_encoded_alone(reproduced):
    raw = reproduced.folder / "data/raw/demo_style"
    from PIL import Image

    with Image.open(raw / "star.png") as image:
        image.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(raw / "star_two.png")
    (raw / "star_two.txt").write_text("two stars, outline style")
    (raw / "star.txt").write_text("one star, outline style")
    output = reproduced.run("dvc", "repro")
    assert "25 pictures (24 reused)" in output
    assert "new: 1 picture, 2 captions" in output
    assert len(load_file(reproduced.folder / "outputs/lora/demo_style.safetensors")) > 0


def test_a_bad_picture_stops_with_its_name_and_the_old_output_stays(reproduced):
    raw = reproduced.folder / "data/raw/demo_style"
    (raw / "broken.png").write_bytes((raw / "star.png").read_bytes()[:200])
    try:
        output = reproduced.run("dvc", "repro", status=255)
    finally:
        (raw / "broken.png").unlink()
    assert "broken.png" in output and "Traceback" not in output
    assert (reproduced.folder / "outputs/prepared/metadata.jsonl").is_file()
    assert reproduced.repro() == []


def test_a_wrong_setting_is_told_without_a_traceback(reproduced):
    before = (reproduced.folder / "params.yaml").read_text()
    reproduced.edit("params.yaml", "overrides: [", 'overrides: ["+train.stepz=4", ')
    output = reproduced.run("dvc", "repro", status=255)
    assert "did you mean steps?" in output and "Traceback" not in output
    (reproduced.folder / "params.yaml").write_text(before)


def test_the_wandb_run_is_one_for_train_and_evaluate(reproduced):
    tracker = json.loads((reproduced.folder / "outputs/run/tracker.json").read_text())
    folders = [path.name for path in (reproduced.folder / "wandb").glob("offline-run-*")]
    assert tracker["kind"] == "wandb"
    assert len([name for name in folders if re.search(rf"-{tracker['id']}$", name)]) >= 2


def test_a_pipe_among_the_pictures_is_told_and_never_opened(own_project):
    os.mkfifo(own_project.folder / "data/raw/demo_style/fifo.png")
    output = own_project.run("dvc", "repro", status=255)
    assert "fifo.png: not a regular file (a pipe); remove it" in output and "Traceback" not in output


def test_dvc_waits_for_a_pipe_that_comes_later_and_compose_names_it(reproduced):
    """What docs/bad_input.md says of it. Where DVC no longer opens pipes, that page has a row too many."""
    assert reproduced.repro() == []
    pipe, log = reproduced.folder / "data/raw/demo_style/later.png", reproduced.folder / "waits.log"
    os.mkfifo(pipe)
    with log.open("w") as file:
        dvc = subprocess.Popen(
            ["dvc", "repro"], cwd=reproduced.folder, env=reproduced.with_programs(), stdout=file, stderr=file
        )
    try:
        writer = wait_for_reader(pipe, dvc, log)
        told = reproduced.run("python", "-m", "pipelines.compose", status=1)
    finally:
        kill_all(reproduced, dvc)
        pipe.unlink()
    os.close(writer)
    assert "later.png: not a regular file (a pipe); remove it" in told
    said = log.read_text()
    assert "Stage 'compose' didn't change, skipping" in said and "'prepare'" not in said
    assert reproduced.repro() == []
