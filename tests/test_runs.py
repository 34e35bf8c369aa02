"""How runs of the second door are shown."""

import gc
import json
import threading
import weakref
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from lorakiln import runs
from lorakiln.artefacts import code_digest
from lorakiln.console.errors import UserError
from lorakiln.runs import _shown, run_pipeline
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import _check_base, _warn_of_device, compose_config


@pytest.mark.parametrize(
    ("folder", "job", "experiment", "group", "name"),
    [
        ("runs/smoke/20260101-101010", None, "smoke", "smoke", "smoke 20260101-101010"),
        ("elsewhere/mine", None, "smoke", "smoke", "smoke mine"),
        ("runs/custom/today", None, None, "custom", "custom today"),
        (
            "runs/smoke/sweep/1",
            ["train.adapter.rank=4", "train/scheduler=cosine"],
            "smoke",
            "smoke sweep",
            "rank=4 scheduler=cosine",
        ),
        # A sweep with a folder of its own belongs to its experiment still.
        ("runs/smoke/f1/3", [], None, "smoke f1", "3"),
        ("elsewhere/f1/1", ["train.optimizer.lr=1e-4"], "smoke", "smoke f1", "lr=1e-4"),
    ],
)
def test_group_and_name(tmp_path, folder, job, experiment, group, name):
    folder = tmp_path / folder
    folder.mkdir(parents=True)
    if job is not None:
        (folder / "job.json").write_text(json.dumps({"own": job}))
    shown = _shown(TrackerSettings(kind="wandb"), folder, experiment)
    assert (shown.group, shown.name) == (group, name)
    chosen = _shown(TrackerSettings(kind="wandb", group="a", name="b"), folder, experiment)
    assert (chosen.group, chosen.name) == ("a", "b")
    at_home = _shown(TrackerSettings(kind="wandb", group="a", upload_images=False), folder, experiment)
    assert (at_home.group, at_home.name) == ("a", "a")


def test_a_job_named_by_what_stays_at_home_is_not_shown_so(tmp_path):
    folder = tmp_path / "smoke" / "sweep" / "1"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"own": ["caption.trigger=SECRETWORD"]}')
    shown = _shown(TrackerSettings(kind="wandb", upload_images=False), folder, None)
    assert (shown.group, shown.name) == ("smoke sweep", "smoke sweep")


@pytest.fixture
def without_gpu(monkeypatch, tmp_path):
    """A config that asks for a GPU, on a machine that has none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cache = f"paths.cache={tmp_path / 'cache'}"
    return check_whole(compose_config(["+experiment=smoke", "train/trainer=gpu", cache]))


def test_a_gpu_that_is_not_there_is_told_before_the_pictures_are_prepared(without_gpu, tmp_path):
    with pytest.raises(UserError, match="no CUDA device is there"):
        run_pipeline(without_gpu, tmp_path / "run")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()


def test_compose_warns_of_it(without_gpu, capsys):
    _warn_of_device(without_gpu)
    assert "no CUDA device is here" in capsys.readouterr().err
    _warn_of_device(check_whole(compose_config(["+experiment=smoke"])))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluate.steps=1001", r"evaluate\.steps: 1001 steps are more than the model's noise schedule has"),
        ("evaluate.width=50", "50x64 cannot be drawn"),
        ("train.samples.steps=1001", r"train\.samples\.steps: 1001 steps are more"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_anything_is_trained(tmp_path, override, said):
    config = check_whole(compose_config(["+experiment=smoke", override, f"paths.cache={tmp_path / 'cache'}"]))
    with pytest.raises(UserError, match=said):
        run_pipeline(config, tmp_path / "run")
    with pytest.raises(UserError, match=said):
        _check_base(config)
    assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 800000\n" % (b"0" * 64)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "Git LFS"),
        (bytes.fromhex("ffff000000000000") + b'{"__metadata__"', "not a readable safetensors"),
        (None, "no such"),
    ],
)
def test_a_base_that_is_not_whole_is_told_before_anything_is_made(tmp_path, start, said):
    base = tmp_path / "base.safetensors"
    if start is not None:
        base.write_bytes(start or POINTER)
    paths = [f"model.path={base}", f"paths.cache={tmp_path / 'cache'}"]
    config = check_whole(compose_config(["+experiment=smoke", *paths]))
    for look in (lambda: run_pipeline(config, tmp_path / "run"), lambda: _check_base(config)):
        with pytest.raises(UserError, match=said):
            look()
    assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()


def test_a_base_of_the_hub_is_not_fetched_to_look_at_it(monkeypatch):
    monkeypatch.setattr("lorakiln.evaluate.drawing_checks.load_family", None)
    _check_base(check_whole(compose_config(["+experiment=smoke", "model.path=owner/name"])))


class Stopped(Exception):
    """Stands for Ctrl-C after the training."""


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """The stages of the second door, which only write down that they ran; the first evaluation is stopped."""
    ran = []

    def write(name):
        def stage(*arguments):
            ran.append(name)
            if name == "train":
                (arguments[1]).mkdir(parents=True, exist_ok=True)
                (arguments[1] / "facts.json").write_text("{}")
            if name == "evaluate" and ran.count("evaluate") == 1:
                raise Stopped

        return stage

    for name in ("train", "choose", "export", "evaluate"):
        monkeypatch.setattr(f"lorakiln.{name}.{name}", write(name))
    monkeypatch.setattr(runs, "make_dataset", lambda config: tmp_path / f"data-{config.prepare.resolution}")
    return ran


def test_what_was_trained_is_not_trained_again_after_a_stop(stages, tmp_path):
    def go(*overrides):
        run_pipeline(check_whole(compose_config(["+experiment=smoke", *overrides])), tmp_path / "run")

    with pytest.raises(Stopped):
        go()
    assert stages == ["train", "choose", "export", "evaluate"]
    go()
    assert stages[4:] == ["choose", "export", "evaluate"]
    # Settings of what comes after leave it alone; its own, and other pictures, do not.
    go("export.strength=0.5", "evaluate.guidance=2.0")
    assert stages[7:] == ["choose", "export", "evaluate"]
    go("train.optimizer.lr=1e-5")
    go("train.optimizer.lr=1e-5", "prepare.resolution=48")
    assert stages[10:] == ["train", "choose", "export", "evaluate"] * 2


def test_a_run_in_another_folder_takes_over_what_a_stopped_one_has_trained(stages, tmp_path):
    config = check_whole(compose_config(["+experiment=smoke"]))
    with pytest.raises(Stopped):
        run_pipeline(config, tmp_path / "smoke" / "20260101-101010")
    (tmp_path / "smoke" / "20260101-101010" / "run" / "tracker.json").write_text('{"id": "abc"}')
    run_pipeline(config, tmp_path / "smoke" / "20260101-111111")
    assert stages == ["train", "choose", "export", "evaluate", "choose", "export", "evaluate"]
    assert (tmp_path / "smoke" / "20260101-111111" / "run" / "tracker.json").read_text() == '{"id": "abc"}'
    # One that has its report is a run of its own, and so is the job of a sweep.
    for name in ("20260101-101010", "20260101-111111"):
        (tmp_path / "smoke" / name / "report").mkdir()
    run_pipeline(config, tmp_path / "smoke" / "20260101-121212")
    assert stages.count("train") == 2
    job = tmp_path / "smoke" / "job"
    job.mkdir()
    (job / "job.json").write_text('{"own": []}')
    run_pipeline(check_whole(compose_config(["+experiment=smoke", f"paths.cache={tmp_path / 'cache'}"])), job)
    assert stages.count("train") == 3


@pytest.fixture
def make_job(tmp_path):
    def make(name):
        folder = tmp_path / "smoke" / "sweep" / name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps({"own": [name]}))
        return folder

    return make


def test_jobs_that_share_a_training_train_it_once(stages, tmp_path, make_job, monkeypatch):
    taken = []
    monkeypatch.setattr(runs, "take_over", lambda trained, *more: taken.append((trained.parent.name, more)))

    def go(folder, *overrides):
        run_pipeline(
            check_whole(compose_config(["+experiment=smoke", f"paths.cache={tmp_path / 'cache'}", *overrides])), folder
        )

    full, half, other = make_job("export.strength=1"), make_job("export.strength=0.5"), make_job("train.seed=1")
    with pytest.raises(Stopped):
        go(full)
    go(half, "export.strength=0.5")
    go(other, "train.seed=1")
    assert stages == [
        "train",
        "choose",
        "export",
        "evaluate",
        "choose",
        "export",
        "evaluate",
        "train",
        "choose",
        "export",
        "evaluate",
    ]
    ((name, more),) = taken
    # Under its own name in the tracker.
    assert name == "export.strength=1" and more[1] == half / "run" and more[2].tracker.name == "strength=0.5"


def test_two_jobs_at_a_time_train_what_they_share_once(stages, tmp_path, make_job, monkeypatch):
    """The second waits for the first, whose training takes its time."""
    training, go_on, train = threading.Event(), threading.Event(), import_module("lorakiln.train").train

    def slowly(*arguments):
        training.set()
        assert go_on.wait(20)
        train(*arguments)

    monkeypatch.setattr("lorakiln.train.train", slowly)
    monkeypatch.setattr(runs, "take_over", lambda *arguments: stages.append("taken over"))
    stages.append("evaluate")  # none is stopped
    config = check_whole(compose_config(["+experiment=smoke", f"paths.cache={tmp_path / 'cache'}"]))
    jobs = [threading.Thread(target=run_pipeline, args=(config, make_job(name)), daemon=True) for name in "ab"]
    jobs[0].start()
    assert training.wait(20)
    jobs[1].start()
    jobs[1].join(1)
    assert jobs[1].is_alive() and stages == ["evaluate"]
    go_on.set()
    for job in jobs:
        job.join(20)
    assert stages.count("train") == stages.count("taken over") == 1 and stages.count("export") == 2


def test_a_training_that_was_stopped_goes_on(stages, tmp_path):
    config = check_whole(compose_config(["+experiment=smoke"]))
    with pytest.raises(Stopped):
        run_pipeline(config, tmp_path / "run")
    (tmp_path / "run" / "run" / "facts.json").unlink()
    run_pipeline(config, tmp_path / "run")
    assert stages.count("train") == 2


def test_a_dataset_and_a_training_are_another_programs_where_the_code_is_another(monkeypatch, tmp_path):
    config = check_whole(compose_config(["+experiment=smoke"]))
    before = runs.compute_data_key(config, tmp_path), runs.compute_training_key(config, tmp_path / "data")
    assert (runs.compute_data_key(config, tmp_path), runs.compute_training_key(config, tmp_path / "data")) == before
    # By stage a module in which something has changed; of the training, its optimizer too.
    for module, others in (
        ("lorakiln.prepare.stage", (False, True)),
        ("lorakiln.prepare.buckets", (False, True)),
        ("lorakiln.caption.trigger", (False, True)),
        ("lorakiln.encode.latents", (False, True)),
        ("lorakiln.diffusion.loss", (True, False)),
        ("lorakiln.families.sd.model", (False, False)),
        ("lorakiln.families.sdxl.model", (True, True)),
        ("lorakiln.sweep.jobs", (True, True)),
    ):
        with monkeypatch.context() as patched:
            forget()
            read = code_digest._read

            def changed(path, name, root, read=read, module=module):
                found = read(path, name, root)
                return found._replace(digest="another") if name == module else found

            patched.setattr(code_digest, "_read", changed)
            now = runs.compute_data_key(config, tmp_path), runs.compute_training_key(config, tmp_path / "data")
            assert tuple(one == other for one, other in zip(now, before, strict=True)) == others, module
        forget()


def forget():
    code_digest.read_code.cache_clear()


def test_what_one_stage_held_is_given_back_before_the_next(tmp_path, monkeypatch):
    """A model is held by cycles, which Python's collector finds when it likes."""
    held, left = [], []

    class Model:
        def __init__(self):
            self.itself = self

    def work(*arguments):
        left.append([model() is not None for model in held])
        held.append(weakref.ref(Model()))

    for name in ("find_accelerator", "check_drawing", "check_asked_samples"):
        monkeypatch.setattr(runs, name, lambda *arguments: None)
    for name in ("make_dataset", "_train"):
        monkeypatch.setattr(runs, name, work)
    monkeypatch.setattr(runs, "locate_folders", lambda *arguments: {})
    monkeypatch.setattr(runs, "RESULTS", (SimpleNamespace(update=work), SimpleNamespace(update=work)))
    config = check_whole(compose_config(["+experiment=smoke"]))
    gc.disable()
    try:
        run_pipeline(config, tmp_path)
    finally:
        gc.enable()
    assert left == [[False] * count for count in range(4)]
