import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

SRC = Path(__file__).parents[2] / "src"


def merged(base: dict, changes: dict) -> dict:
    """`changes` over `base`, section by section."""
    result = dict(base)
    for key, value in changes.items():
        result[key] = merged(base[key], value) if isinstance(base.get(key), dict) else value
    return result


@pytest.fixture
def make_settings():
    """TrainSettings of a run of a second; sections are changed with dicts."""
    from lorakiln.schema.train import TrainSettings

    base = {
        "seed": 3,
        "steps": 12,
        "batch_size": 4,
        "checkpoint_every": 0,
        "checkpoint_minutes": 0,
        "adapter": {"rank": 4, "alpha": 4.0},
        "objective": {},
        "optimizer": {"kind": "adamw", "lr": 1e-2},
        "scheduler": {"kind": "constant"},
        "trainer": {"accelerator": "cpu", "threads": 1},
        "tracker": {"kind": "csv", "log_every": 3},
        "validation": {"every": 0},
        "samples": {"every": 0},
    }
    return lambda **changes: TrainSettings(**merged(base, changes))


@pytest.fixture
def added_kinds():
    """The kinds of made_up.py are known."""
    from tests.train.made_up import add_kinds, remove_kinds

    add_kinds()
    yield
    remove_kinds()


@pytest.fixture
def make_module(micro_model, micro_encoded, make_settings):
    """A training module on the micro model, as `train` makes it, and no trainer."""
    from lorakiln.families import load_family
    from lorakiln.schema.encode import EncodeSettings
    from lorakiln.train.adapter_placement import inject_adapters, list_placements
    from lorakiln.train.encoded_dataset import EncodedDataset
    from lorakiln.train.live_text import LiveText
    from lorakiln.train.lora_module import LoraModule
    from lorakiln.train.share import Share
    from lorakiln.train.validation_split import hold_out

    def make(share=None, encoded=micro_encoded, model=micro_model, live=None, **changes):
        settings = make_settings(**changes)
        torch.set_num_threads(1)
        family = load_family(model, ("text", "network") if settings.parts else ("network",))
        if settings.objective.zero_terminal_snr:
            family.process = family.process.rescale_to_zero_snr()
        inject_adapters(family, list_placements(family, settings), settings.seed)
        read = EncodedDataset.read(encoded)
        if settings.parts:
            live = LiveText.of(family, read.index.made_with("encode", EncodeSettings), trained=True)
        split = hold_out(read.buckets, settings.validation)
        return LoraModule(family, read, split.trained, settings, share or Share(), live)

    return make


@pytest.fixture
def train_micro(tmp_path, micro_model, micro_encoded):
    """Train in this process; the run's folder."""
    from lorakiln.train import train

    def run(settings, name="out", encoded=micro_encoded):
        out = tmp_path / name
        train(encoded, out, settings, micro_model, tmp_path / "cache" / "checkpoints")
        return out

    return run


@pytest.fixture
def train_child(tmp_path, micro_model, micro_encoded, preloaded):
    """Train in a process of its own, which signals itself after a step if asked to, with the kinds that the modules
    `add` of this folder add.
    """

    def run(settings, name="out", signal=0, at=0, encoded=micro_encoded, launcher=(), add=()):
        order = tmp_path / f"{name}.order.json"
        task = {
            "encoded": str(encoded),
            "out": str(tmp_path / name),
            "checkpoints": str(tmp_path / "cache" / "checkpoints"),
            "settings": settings.model_dump(mode="json"),
            "model": micro_model.model_dump(mode="json"),
            "signal": int(signal),
            "at": at,
            "add": list(add),
        }
        order.write_text(json.dumps(task))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")]),
        }
        child = Path(__file__).with_name("child.py")
        return subprocess.run(
            [str(preloaded / "python"), *launcher, str(child), str(order)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture
def checkpoints(tmp_path):
    """Where the trainings of the test have theirs."""
    return tmp_path / "cache" / "checkpoints"


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def train_killed(monkeypatch, train_micro):
    """Train in this process until the end of a step, before anything is saved there."""
    from lorakiln.train.callbacks import RunRecorder

    def run(settings, at):
        record = RunRecorder.on_train_batch_end

        def dying(callback, trainer, module, *batch):
            if module.done == at:
                raise Killed
            record(callback, trainer, module, *batch)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(RunRecorder, "on_train_batch_end", dying)
            train_micro(settings, "killed")

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a run's folder but those that may differ between equal runs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("provenance.json", "tracker.json")
    }


@pytest.fixture
def read_files():
    return files_of
