"""Training that is killed from outside at every place of a short run ends with the bytes of one that never was."""

import os
import signal
import subprocess
import sys
import time

import pytest

MODULE, CALLBACKS = "lorakiln.train.lora_module:LoraModule", "lorakiln.train.callbacks"
# Micro-batches of 2 of a global batch of 4: ten in five steps. Before the n-th of which call it is killed.
MICRO_BATCHES = [(f"{MODULE}.loss", count) for count in range(1, 11)]
OTHERS = [
    (f"{MODULE}._update", 3),  # with gradients, before the weights change
    (f"{CALLBACKS}:compute_validation_loss", 2),
    ("lorakiln.train.sample_pictures:save_picture", 4),  # half of the samples are there
    (
        "lorakiln.artefacts.tensor_files:os.replace",
        5,
    ),  # after 2 pictures a checkpoint, which has no name yet
    ("lorakiln.train.results:write_csv", 1),  # after the last step, the run's folder half made
    ("lorakiln.artefacts.folders:shutil.rmtree", 4),
]
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}


@pytest.fixture(scope="module")
def micro_settings():
    from lorakiln.schema.train import TrainSettings

    return TrainSettings(
        seed=3,
        steps=5,
        batch_size=4,
        micro_batch=2,
        checkpoint_every=2,
        checkpoint_minutes=0,
        save_every=2,
        adapter={"rank": 4, "alpha": 4.0, "dropout": 0.1},
        objective={"caption_dropout": 0.3},
        optimizer={"kind": "adamw", "lr": 1e-2},
        scheduler={"kind": "constant"},
        trainer={"accelerator": "cpu", "threads": 1},
        tracker={"kind": "csv", "log_every": 2},
        validation={"every": 2, "fraction": 0.3, "draws": 2},
        samples={"every": 3, "steps": 2, "seeds": [0], "prompts": ["a red cat", "a blue cat"]},
    )


@pytest.fixture
def stage(checkout, programs, micro_encoded, micro_settings):
    """A checkout of the first door whose stage `train` is next."""

    def make(name="checkout"):
        folder = checkout(name, train=micro_settings.model_dump(mode="json"))
        (folder / "outputs" / "encoded").symlink_to(micro_encoded)
        return folder

    return make


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, micro_encoded, micro_model, micro_settings):
    """What a run that nothing interrupts writes."""
    from lorakiln.train import train

    folder = tmp_path_factory.mktemp("whole")
    train(micro_encoded, folder / "run", micro_settings, micro_model, folder / "cache" / "checkpoints")
    return files_of(folder / "run")


def files_of(folder):
    """Every file of a run's folder but those that may differ between equal runs."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("provenance.json", "tracker.json")
    }


# After the last step there is nothing more to save: SIGTERM ends the process at once, as SIGKILL does.
@pytest.mark.parametrize(
    ("place", "count", "number"),
    [(*place, signal.SIGKILL) for place in MICRO_BATCHES + OTHERS] + [(*place, signal.SIGTERM) for place in OTHERS[4:]],
)
def test_kill_9(programs, stage, whole_run, place, count, number):
    folder = stage()
    status, printed = programs.start("pipelines.train", folder, pause=place, count=count).kill_when_paused(number)
    assert status == (-number if number == signal.SIGKILL else STATUS[number]), printed
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 0, printed
    if place.endswith(".loss") and count > 4:  # two steps are done, and saved
        assert f"going on from the checkpoint after step {(count - 1) // 4 * 2}" in printed
    assert files_of(folder / "outputs" / "run") == whole_run


@pytest.mark.parametrize(
    ("place", "count", "number"),
    [(*place, signal.SIGTERM) for place in MICRO_BATCHES + OTHERS[:4]]
    + [(*MICRO_BATCHES[4], signal.SIGINT), (*MICRO_BATCHES[4], signal.SIGUSR1)],
)
def test_a_polite_signal(programs, stage, whole_run, place, count, number):
    folder = stage()
    job = programs.start("pipelines.train", folder, pause=place, count=count)
    status, printed = job.kill_when_paused(number)
    assert status == STATUS[number], printed
    assert "a checkpoint is saved" in printed and "Traceback" not in printed
    if place.endswith(".loss"):  # within one step
        assert f"stopped after step {(count + 1) // 2};" in printed
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 0 and "going on from the checkpoint after step" in printed, printed
    assert files_of(folder / "outputs" / "run") == whole_run


@pytest.mark.parametrize(
    ("place", "count", "step"),
    [
        (f"{CALLBACKS}:compute_validation_loss", 2, 2),
        ("lorakiln.sampling.draw:denoise", 2, 3),
        ("lorakiln.sampling.draw:denoise", 3, 5),  # after the last step
        ("lorakiln.train.sample_pictures:save_picture", 6, 5),
    ],
)
def test_measuring_and_drawing_keep_no_signal_waiting(programs, stage, whole_run, place, count, step):
    folder = stage()
    status, printed = programs.start("pipelines.train", folder, pause=place, count=count).kill_when_paused(
        signal.SIGTERM
    )
    assert status == 143 and f"stopped after step {step};" in printed, printed
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 0 and f"going on from the checkpoint after step {step}" in printed, printed
    assert files_of(folder / "outputs" / "run") == whole_run


@pytest.mark.parametrize(
    "place", [f"{CALLBACKS}:compute_validation_loss", "lorakiln.train.sample_pictures:save_picture"]
)
def test_before_the_first_step_there_is_nothing_to_save(programs, stage, whole_run, place):
    folder = stage()
    status, printed = programs.start("pipelines.train", folder, pause=place).kill_when_paused(signal.SIGINT)
    assert status == 130 and printed.splitlines()[-1].startswith("interrupted by SIGINT"), printed
    assert not list(folder.glob("cache/checkpoints/*/step-*"))
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 0, printed
    assert files_of(folder / "outputs" / "run") == whole_run


def test_the_second_signal_of_a_kind_ends_at_once(programs, stage):
    folder = stage()
    job = programs.start("pipelines.train", folder, pause=f"{MODULE}.loss", count=3)

    def ask_twice(process):
        os.kill(process, signal.SIGTERM)
        time.sleep(0.1)  # one that is pending would swallow the other
        os.kill(process, signal.SIGTERM)

    status, printed = job.go_on_when_paused(ask_twice)
    assert status == 143 and printed.splitlines()[-1].startswith("interrupted by SIGTERM"), printed
    assert "stopped after step" not in printed and "Traceback" not in printed


def test_killed_twice_in_one_epoch(programs, stage, whole_run):
    folder = stage()
    programs.start("pipelines.train", folder, pause=f"{MODULE}.loss", count=6).kill_when_paused(signal.SIGTERM)
    programs.start("pipelines.train", folder, pause=f"{MODULE}.loss", count=2).kill_when_paused(signal.SIGKILL)
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 0 and "going on from the checkpoint after step 3" in printed
    assert files_of(folder / "outputs" / "run") == whole_run


@pytest.fixture(scope="module")
def command(pictures, micro_model, micro_settings):
    """The second door's command line for the micro model and the six pictures."""
    given = micro_settings.model_dump(mode="json")
    plain = ("seed", "steps", "batch_size", "micro_batch", "checkpoint_every", "save_every")
    changed = {
        **{name: given[name] for name in plain},
        "validation.every": 2,
        "validation.fraction": 0.3,
        "validation.draws": 2,
        "samples.every": 3,
        "samples.steps": 2,
        "adapter.rank": 4,
        "adapter.dropout": 0.1,
        "optimizer.lr": 1e-2,
        "trainer.threads": 1,
    }
    model = {
        "path": micro_model.path,
        "resolution": 32,
        "bucket_min": 16,
        "bucket_max": 64,
        "bucket_step": 16,
    }
    return (
        *(f"train.{name}={value}" for name, value in changed.items()),
        *(f"model.{name}={value}" for name, value in model.items()),
        f"paths.raw={pictures}",
        "prepare.dataset=raw",
        "caption=none",
        "caption.trigger=sks",
        "train/tracker=csv",
        "hydra.run.dir=run",
    )


@pytest.fixture(scope="module")
def second_door(programs, command, tmp_path_factory):
    """Runs the second door until the LoRA is exported (the report comes after it); the dataset is made once."""
    cache = tmp_path_factory.mktemp("cache")

    def start(folder, *overrides, **pause):
        folder.mkdir(exist_ok=True)
        arguments = (*command, f"paths.cache={cache}", *overrides)
        return programs.start(
            "train", folder, arguments, skip=("lorakiln.choose:choose", "lorakiln.evaluate:evaluate"), **pause
        )

    return start


@pytest.fixture(scope="module")
def whole_lora(second_door, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole_lora")
    status, printed = second_door(folder).wait()
    assert status == 0, printed
    return (folder / "run" / "lora" / "raw.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("count", [2, 5, 8, 9])
def test_the_second_door(second_door, whole_lora, tmp_path, count, number):
    folder = tmp_path / "project"
    status, printed = second_door(folder, pause=f"{MODULE}.loss", count=count).kill_when_paused(number)
    assert status == STATUS.get(number, -number), printed
    status, printed = second_door(folder).wait()
    assert status == 0, printed
    assert ("going on from the checkpoint" in printed) == (number == signal.SIGTERM or count > 4)
    assert (folder / "run" / "lora" / "raw.safetensors").read_bytes() == whole_lora


def test_a_shorter_run_comes_between(second_door, whole_lora, tmp_path):
    folder = tmp_path / "project"
    second_door(folder, pause=f"{MODULE}.loss", count=9).kill_when_paused(signal.SIGKILL)
    status, printed = second_door(folder, "train.steps=3").wait()
    assert status == 0 and "the checkpoints of a longer run, up to step 4, are left as they are" in printed, printed
    assert "going on from the checkpoint after step 2" in printed and "trained 3 steps" in printed
    status, printed = second_door(folder).wait()
    assert status == 0 and "going on from the checkpoint after step 4" in printed, printed
    assert (folder / "run" / "lora" / "raw.safetensors").read_bytes() == whole_lora


def test_a_second_process_on_the_same_run_is_refused(programs, stage, whole_run, preloaded):
    folder = stage()
    job = programs.start("pipelines.train", folder, pause=f"{MODULE}.loss", count=3)
    while not (job.signals / "paused").exists():
        time.sleep(0.01)
    second = subprocess.run(
        [preloaded / "python", "-m", "pipelines.train"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert second.returncode == 1 and "Traceback" not in second.stderr
    assert "another process is" in second.stderr
    (job.signals / "go").touch()
    assert job.wait()[0] == 0
    assert files_of(folder / "outputs" / "run") == whole_run
