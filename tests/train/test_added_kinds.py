"""Optimizers and schedules that another package adds train, and resume bit for bit; nothing in src knows them."""

import pytest

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.facts.run import RunFacts
from lorakiln.optim import kohya_name
from lorakiln.schema.train import TrainSettings


@pytest.mark.parametrize("kind", ["sign", "rows"])
def test_a_killed_run_ends_as_the_uninterrupted_one(
    added_kinds, train_killed, train_micro, make_settings, read_files, tmp_path, capsys, kind
):
    settings = make_settings(
        checkpoint_every=4,
        optimizer={"kind": kind, "part_lrs": {"up_blocks": 2e-2, "down_blocks": 1e-3}},
        scheduler={"kind": "halving", "warmup_steps": 2, "every": 4},
    )
    train_killed(settings, at=6)
    (kept,) = (tmp_path / "cache/checkpoints").glob("*/step-00000004.safetensors")
    names = {name.partition("/")[0] for name in load_tensors(kept)[0]}
    assert (
        names - {"adapter"}
        == {
            "sign": {"optimizer.mean"},
            "rows": {"optimizer.step", "optimizer.row_var", "optimizer.col_var"},
        }[kind]
    )
    out = train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(settings, "whole"))
    rates = [float(row.split(",")[2]) for row in (out / "metrics.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([1e-2, 1e-2, 5e-3, 2.5e-3])  # of steps 3, 6, 9 and 12, two of them to warm up


def test_the_metadata_name_the_kind_as_it_says(added_kinds, train_micro, make_settings):
    settings = make_settings(steps=1, optimizer={"kind": "sign", "momentum": 0.5})
    facts = RunFacts.read(train_micro(settings) / "facts.json")
    assert kohya_name(facts.made_with("train", TrainSettings).optimizer) == "made_up.SignSGD(momentum=0.5)"


def test_a_rate_that_needs_no_total_goes_on_to_more_steps(added_kinds, train_micro, make_settings, read_files, capsys):
    wanted = {"scheduler": {"kind": "halving"}, "optimizer": {"kind": "sign"}}
    train_micro(make_settings(steps=5, **wanted), "short")
    out = train_micro(make_settings(steps=8, **wanted))
    assert "going on from the checkpoint after step 5" in capsys.readouterr().err
    assert read_files(out) == read_files(train_micro(make_settings(steps=8, **wanted), "whole"))
