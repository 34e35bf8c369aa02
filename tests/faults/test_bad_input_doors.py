"""Bad input through the commands: the exit status, what is told, and that nobody's file is touched."""

import json
import os
import re
import resource
import shutil

import pytest
import torch
import yaml

from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from tests.faults.conftest import ROOT
from tests.prepare.test_prepare_bad_files import CONTENTS, EXPECTED, SPECIAL, noise_bytes

PREPARE = {
    "dataset": "raw",
    "resolution": 32,
    "bucket": {"min": 16, "max": 64, "step": 16},
    "workers": 2,
}
TRAIN = {
    "steps": 2,
    "batch_size": 2,
    "adapter": {"rank": 2, "alpha": 2.0},
    "objective": {},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "scheduler": {"kind": "constant"},
    "trainer": {"accelerator": "cpu", "threads": 1},
    "tracker": {"kind": "none"},
    "validation": {"every": 0},
    "samples": {"every": 0},
    "checkpoint_every": 1,
}
CAPTION, ENCODE = {"captioner": "none"}, {"batch_size": 4, "device": "cpu"}


def seen(folder):
    """Every entry below a folder: its kind, its time, its bytes or where it leads."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def refused(programs, module, folder, *arguments):
    """Run a command that must end with status 1 and one readable error; what it told."""
    status, told = programs.start(module, folder, arguments).wait()
    assert status == 1, told
    assert "error: " in told and "Traceback" not in told
    return told


@pytest.fixture
def mine(checkout, tmp_path, pictures):
    """A checkout with its own copy of the six pictures, to be spoilt."""
    shutil.copytree(pictures / "raw", tmp_path / "mine" / "raw")

    def make(name="checkout", **spaces):
        spaces = {"prepare": PREPARE, "caption": CAPTION, "encode": ENCODE, "train": TRAIN, **spaces}
        folder = checkout(name, **spaces)
        path = folder / "outputs" / "resolved.yaml"
        config = yaml.safe_load(path.read_text())
        config["paths"]["raw"] = str(tmp_path / "mine")
        path.write_text(yaml.safe_dump(config))
        return folder, tmp_path / "mine" / "raw"

    return make


def done(programs, folder, *stages):
    for stage in stages:
        status, told = programs.start(f"pipelines.{stage}", folder).wait()
        assert status == 0, told


def spoil(raw):
    """Every kind of bad file among the good ones."""
    (raw.parent / "elsewhere").mkdir()
    (raw.parent / "secret.png").write_bytes(noise_bytes("png"))
    for name, (content, _, _) in CONTENTS.items():
        (raw / name).write_bytes(content)
    for name, (make, _, _) in SPECIAL.items():
        make(raw / name)


def test_prepare_lists_all_bad_files_and_touches_none(programs, mine):
    folder, raw = mine()
    spoil(raw)
    before = seen(raw.parent)
    told = refused(programs, "pipelines.prepare", folder)
    for name, (reason, fix) in EXPECTED.items():
        assert f"    {name}" in told and fix in told and all(part in told for part in reason.split(": ")), name
    assert f"{len(EXPECTED)} files of {len(EXPECTED) + 6} cannot be used" in told
    assert sorted(path.name for path in (folder / "outputs").iterdir()) == [
        "prepared.quarantine.jsonl",
        "resolved.yaml",
    ]
    assert seen(raw.parent) == before


def test_on_bad_skip_ends_with_status_0(programs, mine):
    folder, raw = mine(prepare=PREPARE | {"on_bad": "skip"})
    spoil(raw)
    before = seen(raw.parent)
    done(programs, folder, "prepare")
    rows = (folder / "outputs" / "prepared" / "metadata.jsonl").read_text().splitlines()
    left_out = (folder / "outputs" / "prepared" / "quarantine.jsonl").read_text().splitlines()
    assert (len(rows), len(left_out)) == (6, len(EXPECTED))
    assert seen(raw.parent) == before


UNOPENABLE = {
    "fifo.png": (os.mkfifo, "not a regular file"),
    "notes.txt": (os.mkfifo, "not a regular file"),
    "memory.png": (lambda path: path.symlink_to("/proc/self/mem"), "a link to what is the system's own"),
    "zero.png": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "nothing.png": (lambda path: path.symlink_to("nowhere.png"), "a link to nothing"),
    "out.png": (lambda path: path.symlink_to("../outside.png"), "a link that leads out of the dataset's folder"),
}


@pytest.fixture
def project(tmp_path):
    """A project's root with data/raw/mine and data/raw/theirs, one good picture each, as both doors find it."""
    for name in ("conf", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("mine", "theirs"):
        (tmp_path / "data" / "raw" / name).mkdir(parents=True)
        (tmp_path / "data" / "raw" / name / "good.png").write_bytes(noise_bytes("png"))
    (tmp_path / "data" / "raw" / "outside.png").write_bytes(noise_bytes("png"))
    return tmp_path


def compose(folder, dataset="", *overrides):
    given = {"experiment": "smoke", "dataset": dataset, "overrides": ["caption=none", *overrides]}
    (folder / "params.yaml").write_text(yaml.safe_dump(given))


@pytest.mark.timeout(120)
def test_what_must_not_be_opened_is_told_before_dvc_reads_it(programs, project):
    for name, (make, _) in UNOPENABLE.items():
        make(project / "data" / "raw" / "mine" / name)
    compose(project, "mine")
    told = refused(programs, "pipelines.compose", project)
    for name, (_, reason) in UNOPENABLE.items():
        assert f"  {name}: {reason}" in told
    assert not (project / "outputs").exists()
    for name, setting in {"out.png": "prepare.follow_symlinks=true", "others": "prepare.on_bad=skip"}.items():
        compose(project, "mine", setting)
        told = refused(programs, "pipelines.compose", project)
        assert "out.png" not in told and "fifo.png" in told, name
    # DVC looks at all of data/raw while no dataset is named.
    compose(project, "", "prepare.dataset=theirs")
    told = refused(programs, "pipelines.compose", project)
    assert "mine/fifo.png: not a regular file" in told and "name your dataset in params.yaml" in told
    assert "out.png" not in told
    compose(project, "theirs")
    done(programs, project, "compose")


@pytest.mark.timeout(120)
def test_a_pipe_that_comes_later_is_told_by_compose(programs, project):
    compose(project, "mine")
    done(programs, project, "compose")
    os.mkfifo(project / "data" / "raw" / "mine" / "later.png")
    assert "  later.png: not a regular file" in refused(programs, "pipelines.compose", project)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("follow", [False, True])
def test_what_must_not_be_opened_is_told_through_the_second_door(programs, project, follow):
    for name, (make, _) in UNOPENABLE.items():
        make(project / "data" / "raw" / "mine" / name)
    arguments = ("+experiment=smoke", "prepare.dataset=mine", f"prepare.follow_symlinks={follow}", "caption=none")
    told = refused(programs, "train", project, *arguments, "hydra.run.dir=run")
    for name, (_, reason) in UNOPENABLE.items():
        assert (name in told and reason in told) == (name != "notes.txt" and not (follow and name == "out.png")), name


TEXTS = {
    "0.txt": ("a cat".encode("utf-16-le"), "holds NUL bytes"),
    "1.txt": ("caf\u00e9".encode("latin-1"), "is not UTF-8; it may be"),
    "2.txt": (b"a\0cat", "holds NUL bytes"),
    "3.txt": (b" \r\n", "empty"),
    "4.txt": (b"x" * 102_400, "no caption"),
}


def test_caption_lists_all_bad_texts_and_touches_none(programs, mine):
    folder, raw = mine()
    done(programs, folder, "prepare")
    for name, (content, _) in TEXTS.items():
        (raw / name).write_bytes(content)
    (raw / "5.txt").unlink()
    before, prepared = seen(raw.parent), seen(folder / "outputs" / "prepared")
    told = refused(programs, "pipelines.caption", folder)
    for name, (_, reason) in TEXTS.items():
        assert name in told and reason in told, name
    assert "5.png" in told and not (folder / "outputs" / "captioned").exists()
    assert seen(raw.parent) == before and seen(folder / "outputs" / "prepared") == prepared


@pytest.fixture
def encoded(programs, mine):
    """A checkout whose data stages are done."""
    folder, raw = mine(caption=CAPTION | {"trigger": "sks"})
    done(programs, folder, "prepare", "caption", "encode")
    return folder, raw


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-50])


def painted_away(outputs):
    (outputs / "captioned" / "3.png").unlink()


def rows_cut_off(outputs):
    cut_off(outputs / "captioned" / "metadata.jsonl")


def latents_cut_off(outputs):
    cut_off(outputs / "encoded" / "32x32.safetensors")


def latents_of_nan(outputs):
    path = outputs / "encoded" / "32x32.safetensors"
    tensors, metadata = load_tensors(path)
    save_tensors(path, {name: torch.full_like(value, torch.nan) for name, value in tensors.items()}, metadata)


def another_base(outputs):
    index = json.loads((outputs / "encoded" / "index.json").read_text())
    index["base"]["hash"] = "0" * 64
    (outputs / "encoded" / "index.json").write_text(json.dumps(index))


def no_base(outputs):
    text = (outputs / "resolved.yaml").read_text()
    (outputs / "resolved.yaml").write_text(re.sub(r"path: .*/sd$", "path: models/nowhere", text, flags=re.MULTILINE))


@pytest.mark.parametrize("new", [False, True], ids=["over a finished output", "with none"])
def test_later_stages_refuse_what_others_spoilt(programs, encoded, new):
    folder, raw = encoded
    outputs, originals = folder / "outputs", seen(raw.parent)
    good = folder.with_name("good")
    done(programs, folder, "train")
    shutil.copytree(outputs, good)
    for stage, spoilt, out, words in (
        ("encode", painted_away, "encoded", "3.png"),
        ("encode", rows_cut_off, "encoded", "metadata.jsonl: damaged"),
        ("encode", no_base, "encoded", "models/nowhere"),
        ("train", latents_cut_off, "run", "32x32.safetensors"),
        ("train", latents_of_nan, "run", "not finite at step 1"),
        ("train", another_base, "run", "run the stage `encode` again"),
    ):
        spoilt(outputs)
        if new:
            shutil.rmtree(outputs / out)
        before = seen(outputs)
        assert words in refused(programs, f"pipelines.{stage}", folder), spoilt
        assert seen(outputs) == before, spoilt
        shutil.rmtree(outputs)
        shutil.copytree(good, outputs)
    assert seen(raw.parent) == originals


def test_the_second_door_refuses_bad_pictures_too(programs, mine, micro_model):
    folder, raw = mine()
    spoil(raw)
    before = seen(raw.parent)
    told = refused(
        programs,
        "train",
        folder,
        f"model.path={micro_model.path}",
        f"paths.raw={raw.parent}",
        "prepare.dataset=raw",
        "hydra.run.dir=run",
    )
    assert "a Git LFS pointer" in told and "truncated_jpg.jpg" in told
    assert not (folder / "run" / "run").exists() and seen(raw.parent) == before


def test_out_of_memory_says_what_to_set_and_leaves_no_half_output(programs, encoded):
    folder, _ = encoded
    path = folder / "outputs" / "resolved.yaml"
    config = yaml.safe_load(path.read_text())
    config["train"]["batch_size"] = 2048
    path.write_text(yaml.safe_dump(config))
    before = seen(folder / "outputs")
    job = programs.start("pipelines.train", folder, pause="lorakiln.train.lora_module:LoraModule.loss")
    status, told = job.go_on_when_paused(leave_no_memory)
    assert status == 1 and "Traceback" not in told, told
    assert "error: cpu is out of memory, with 2048 pictures at once" in told and "train.micro_batch=1024" in told
    assert re.search(r"batch +2048 = 1 device x 1 micro-batch of 2048", told)  # the plan came first
    assert seen(folder / "outputs") == before


def leave_no_memory(process):
    """Let a process have a little more address space than it uses."""
    with open(f"/proc/{process}/status") as status:
        used = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
    limit = used + (8 << 20)
    resource.prlimit(process, resource.RLIMIT_AS, (limit, limit))
