"""What lies in the working folder is whole, and only a record says that a training is done."""

import hashlib
import json

import numpy as np
import pytest

from recipes.tiny import workspace


def test_only_its_record_says_that_a_training_is_done(workshop, monkeypatch):
    (workshop / "vae").mkdir()
    (workshop / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    assert not workspace.is_done("vae", 10)
    monkeypatch.setattr(workspace, "LIBRARIES", ("torch",))  # resvg is an extra
    workspace.record_training("vae", 10, 1)
    assert workspace.is_done("vae", 10)
    assert not workspace.is_done("vae", 20)
    record = json.loads((workshop / "vae.done").read_text())
    assert record["weights"] == {"diffusion_pytorch_model.safetensors": hashlib.sha256(b"half").hexdigest()}


def test_arrays_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "000.npz"

    def killed(file, **arrays):
        file.write(b"PK half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(np, "savez", killed)
        workspace.write_arrays(path, a=np.ones(3))
    assert not list(tmp_path.iterdir())
    workspace.write_arrays(path, a=np.ones(3))
    with np.load(path) as stored:
        assert stored["a"].tolist() == [1, 1, 1]
