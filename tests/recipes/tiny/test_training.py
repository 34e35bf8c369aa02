"""The recipe's trainings: bounded by steps, and the same when they were stopped."""

import shutil

import numpy as np
import pytest
import torch

from recipes.tiny import blip, clip, diffusion, vae, workspace
from recipes.tiny.captions import caption
from recipes.tiny.tokenizers import LENGTH, write_clip_tokenizer
from recipes.tiny.training import MuonAndAdamW, compute_rate, load_state, save_state, seed_step


class Killed(Exception):
    pass


def write_pool(folder):
    """Pictures as the base would have drawn them, so that CLIP learns from them too."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    workspace.write_arrays(folder / "generated" / "000.npz", pictures=pictures, labels=[("cat", "", "blue")] * 6)


def write_chunk(folder):
    """Latents of nothing, with captions whose words training changes."""
    (folder / "latents").mkdir()
    tokenizer, rng = write_clip_tokenizer(folder / "clip"), np.random.default_rng(0)
    ids = tokenizer([caption("cat", "flat", "blue")] * 8, padding="max_length", max_length=LENGTH).input_ids
    arrays = {}
    for index, (width, height) in enumerate(((16, 16), (20, 12), (12, 20))):
        arrays[f"latents{index}"] = rng.standard_normal((8, 8, height, width)).astype(np.float16)
        arrays[f"ids{index}"] = np.array(ids, np.int16)
    for kind in ("things", "figures"):
        workspace.write_arrays(folder / "latents" / f"{kind}-000.npz", **arrays)


def copy_clip(folder):
    shutil.copytree(workspace.MODELS / "clip", folder / "clip")


# training -> its module, how it is started, what lies in the working folder before
TRAININGS = {
    "vae": (vae, lambda: vae.train(4, batch=2), lambda folder: None),
    "clip": (clip, lambda: clip.train(4, batch=4), write_pool),
    "blip": (blip, lambda: blip.train(4, batch=3), copy_clip),
    "sd": (diffusion, lambda: diffusion.train("sd", 4, batch=8), write_chunk),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_that_was_stopped_ends_with_the_same_weights(workshop, monkeypatch, name):
    module, train, prepare = TRAININGS[name]
    prepare(workshop)
    ends = []

    def keep(model, *others):
        averages = [value for one in others if isinstance(one, diffusion.MovingAverage) for value in one.kept.values()]
        ends.append([value.clone() for value in (*model.state_dict().values(), *averages)])

    monkeypatch.setattr(module, "finish", keep)
    train()
    (workshop / f"{name}.pt").unlink()

    def save_and_die(path, step, **parts):
        save_state(path, step, **parts)
        raise Killed

    # Stopped when two of its four steps are done: the rate belongs to the whole length, so the steps stay four.
    monkeypatch.setattr(module, "save_state", save_and_die)
    monkeypatch.setattr(module, "SAVE_EVERY", 2)
    with pytest.raises(Killed):
        train()
    assert torch.load(workshop / f"{name}.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr(module, "save_state", save_state)
    train()
    whole, resumed = ends
    assert all(torch.equal(one, other) for one, other in zip(whole, resumed, strict=True))


def test_draws_follow_from_seed_step_and_rank_alone():
    def drawn(*place):
        rng = seed_step(*place)
        return rng.random(), torch.rand(1).item()

    assert drawn(1, 5) == drawn(1, 5, 0)
    others = {drawn(1, 5), drawn(2, 5), drawn(1, 6), drawn(1, 5, 1)}
    assert len(others) == 4


def test_rate_warms_up_and_falls():
    assert compute_rate(0, 1000, 1e-3, warmup=10) == pytest.approx(1e-4)
    assert compute_rate(500, 1000, 1e-3, warmup=10) == pytest.approx(1e-3 * 0.51)
    assert compute_rate(1000, 1000, 1e-3, warmup=10) == pytest.approx(2e-5)


def test_a_state_comes_back_and_none_is_none(tmp_path):
    model = torch.nn.Linear(2, 2)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert load_state(tmp_path / "x.pt", model=model) == 0
    save_state(tmp_path / "x.pt", 7, model=model)
    torch.nn.init.zeros_(model.weight)
    assert load_state(tmp_path / "x.pt", model=model) == 7
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_every_weight_has_one_optimizer_and_the_matrices_inside_have_muon():
    model = clip.build(600, 599)
    matrices, rest = MuonAndAdamW(model).parts
    counts = [sum(p.numel() for group in part.param_groups for p in group["params"]) for part in (matrices, rest)]
    assert sum(counts) == sum(p.numel() for p in model.parameters())
    assert isinstance(matrices, torch.optim.Muon) and all(
        p.ndim == 2 for group in matrices.param_groups for p in group["params"]
    )
