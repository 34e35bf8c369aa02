"""Text encoders and words that are trained: on any number of devices, in half precision, and through a checkpoint."""

import shutil

import pytest

from lorakiln.artefacts.tensor_files import load_tensors
from tests.train.test_ddp import off

ENCODERS = {"parts": ["unet", "text_encoder"], "text_encoders": {"rank": 2, "lr": 5e-3, "stop": 7}}
WORDS = {"tokens": {"sks": {"init": "cat", "vectors": 2, "lr": 2e-2, "max_norm": 1.5}}}
CASES = {"words alone": {"parts": [], **WORDS}, "both": {**ENCODERS, **WORDS}}
# Half precision is a CPU's here: what autocast computes, and how the loss is scaled, is the same code.
HALVES = [("fp16", "words alone"), ("bf16", "both")]


@pytest.fixture
def settings(make_settings):
    def make(case, devices=1, precision="fp32"):
        return make_settings(
            steps=8,
            checkpoint_every=4,
            validation={"every": 4, "fraction": 0.3, "draws": 2},
            trainer={"devices": devices, "precision": precision},
            objective={"caption_dropout": 0.2},
            **CASES[case],
        )

    return make


@pytest.mark.slow
def test_two_devices_go_on_with_what_one_began(train_child, train_killed, train_micro, settings, tmp_path):
    train_killed(settings("both"), at=6)
    ended = train_child(settings("both", devices=2), "two")
    assert ended.returncode == 0, ended.stderr
    assert "going on from the checkpoint after step 4" in ended.stderr
    one = train_micro(settings("both"), "one")
    for part in ("lora", "text_encoder", "bundle_emb"):
        assert off(one, tmp_path / "two", step=8, part=part) < 1e-4


@pytest.mark.parametrize(("precision", "case"), HALVES)
def test_in_half_precision_they_go_on_bit_for_bit(train_killed, train_micro, settings, tmp_path, precision, case):
    wanted = settings(case, precision=precision)
    train_killed(wanted, at=6)
    again = train_micro(wanted, "again")
    shutil.rmtree(tmp_path / "cache")
    whole = train_micro(wanted, "whole")
    files = [folder / "adapters/step-00000008.safetensors" for folder in (again, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()
    tensors = load_tensors(files[0])[0]
    assert all(one.isfinite().all() for one in tensors.values())
    single = load_tensors(train_micro(settings(case), "single") / "adapters/step-00000008.safetensors")[0]
    assert any(not one.equal(single[name]) for name, one in tensors.items())
    # Another arithmetic, and the same training.
    assert off(whole, tmp_path / "single", step=8) < 0.2
