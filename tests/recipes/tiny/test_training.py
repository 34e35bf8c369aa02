"""The recipe's trainings: bounded by steps, the same when stopped, and done only when they say so."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from recipes.tiny import fetch, paths, provenance, scenes, vae
from recipes.tiny.labels import STYLES, THINGS
from recipes.tiny.training import load_state, rate, save_state, seed_step


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A working folder of the test's own, and discs in place of the emoji sets."""
    monkeypatch.setattr(paths, "WORK", tmp_path)
    y, x = np.mgrid[:64, :64]
    disc = np.zeros((64, 64, 4), np.uint8)
    disc[(y - 32) ** 2 + (x - 32) ** 2 < 900] = (200, 60, 40, 255)
    drawn = {(style, thing): Image.fromarray(disc, "RGBA") for style in STYLES for thing in THINGS}
    monkeypatch.setattr(scenes, "load_sprites", lambda: drawn)
    return tmp_path


def test_a_training_that_was_stopped_ends_with_the_same_weights(workshop, monkeypatch):
    monkeypatch.setattr(vae, "finish", lambda model: model.save_pretrained(paths.work("vae")))
    vae.train(4, batch=2)
    whole = load_file(workshop / "vae" / "diffusion_pytorch_model.safetensors")
    (workshop / "vae.pt").unlink()

    class Killed(Exception):
        pass

    def save_and_die(path, step, **parts):
        save_state(path, step, **parts)
        raise Killed

    # Stopped when two of its four steps are done: the rate belongs to the whole length, so the steps stay four.
    monkeypatch.setattr(vae, "save_state", save_and_die)
    monkeypatch.setattr(vae, "SAVE_EVERY", 2)
    with pytest.raises(Killed):
        vae.train(4, batch=2)
    assert torch.load(workshop / "vae.pt", weights_only=True)["step"] == 2
    monkeypatch.setattr(vae, "save_state", save_state)
    vae.train(4, batch=2)
    again = load_file(workshop / "vae" / "diffusion_pytorch_model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_draws_follow_from_seed_step_and_rank_alone():
    def drawn(*place):
        rng = seed_step(*place)
        return rng.random(), torch.rand(1).item()

    assert drawn(1, 5) == drawn(1, 5, 0)
    others = {drawn(1, 5), drawn(2, 5), drawn(1, 6), drawn(1, 5, 1)}
    assert len(others) == 4


def test_rate_warms_up_and_falls():
    assert rate(0, 1000, 1e-3, warmup=10) == pytest.approx(1e-4)
    assert rate(500, 1000, 1e-3, warmup=10) == pytest.approx(1e-3 * 0.51)
    assert rate(1000, 1000, 1e-3, warmup=10) == pytest.approx(2e-5)


def test_a_state_comes_back_and_none_is_none(tmp_path):
    model = torch.nn.Linear(2, 2)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert load_state(tmp_path / "x.pt", model=model) == 0
    save_state(tmp_path / "x.pt", 7, model=model)
    torch.nn.init.zeros_(model.weight)
    assert load_state(tmp_path / "x.pt", model=model) == 7
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_only_its_record_says_that_a_training_is_done(workshop):
    (workshop / "vae").mkdir()
    (workshop / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    assert not provenance.is_done("vae", 10)
    provenance.LIBRARIES, kept = ("torch",), provenance.LIBRARIES  # resvg is an extra
    try:
        provenance.write_done("vae", 10, 1)
    finally:
        provenance.LIBRARIES = kept
    assert provenance.is_done("vae", 10)
    assert not provenance.is_done("vae", 20)
    record = json.loads((workshop / "vae.done").read_text())
    assert record["weights"] == {"diffusion_pytorch_model.safetensors": hashlib.sha256(b"half").hexdigest()}


def test_arrays_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "000.npz"

    def killed(file, **arrays):
        file.write(b"PK half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", killed)
        paths.write_arrays(path, a=np.ones(3))
    assert not path.exists() and not list(tmp_path.glob("*.npz"))
    paths.write_arrays(path, a=np.ones(3))
    with np.load(path) as stored:
        assert stored["a"].tolist() == [1, 1, 1]


def test_another_archive_than_the_recipes_is_refused(tmp_path):
    archive, content = tmp_path / "set.tgz", b"{}"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/package.json", "package/img/twitter/32/a.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(RuntimeError, match="set.tgz: its SHA-512 is .*, the recipe was made with wrong"):
        fetch.unpack(archive, "wrong")
    assert list(tmp_path.iterdir()) == [archive]
    fetch.unpack(archive, base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode())
    assert (tmp_path / "package" / "package.json").read_bytes() == content
    assert not (tmp_path / "package" / "img").exists() and not archive.exists()
