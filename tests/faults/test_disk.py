"""Full, read-only and too small disks: a clear error, nothing old destroyed, no half file under a final name."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import claimed, recover, replacing
from lorakiln.artefacts.json_files import write_text
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.sampling import save_picture
from lorakiln.tools.generate import save_sheet
from lorakiln.train.checkpoint import CheckpointFolder, TrainingState


@contextlib.contextmanager
def files_up_to(size):
    """Limits the size of files, in bytes, as a quota does; no longer than needed, as pytest writes one itself if its
    output goes there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB; `options` mounts it again in another way."""
    if os.getuid():
        pytest.skip("only root can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("disks cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_cannot_grow_leaves_the_old_one(tmp_path):
    old, new = {"a": torch.zeros(4)}, {"a": torch.ones(100_000)}
    save_tensors(tmp_path / "tensors", old)
    write_text(tmp_path / "text", "old")
    with files_up_to(4096), pytest.raises(UserError, match="cannot write: File too large") as caught:
        save_tensors(tmp_path / "tensors", new)
    assert "ulimit -f" in caught.value.fix
    with files_up_to(4096), pytest.raises(UserError, match="cannot write: File too large"):
        write_text(tmp_path / "text", "new" * 10_000)
    assert torch.equal(load_tensors(tmp_path / "tensors")[0]["a"], old["a"])
    assert (tmp_path / "text").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tensors", "text"]


def test_a_picture_and_a_grid_that_do_not_fit_are_told(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cell = tmp_path / "0000.png"
    save_picture(Image.fromarray(noise), cell)
    with files_up_to(4096):
        for write in (
            lambda path: save_picture(Image.fromarray(noise), path),
            lambda path: save_sheet([cell], [""], [""], "", path),
        ):
            with pytest.raises(UserError, match="new.png: cannot write: File too large"):
                write(tmp_path / "new.png")
            assert [path.name for path in tmp_path.iterdir()] == ["0000.png"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        save_picture(Image.fromarray(noise), tmp_path / "file" / "new.png")


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(small_disk):
    folder = CheckpointFolder(small_disk / "run")
    folder.open({})
    folder.save(TrainingState(1, {"adapter/a": torch.zeros(20_000)}))
    with pytest.raises(UserError, match="cannot write: No space left on device"):
        folder.save(TrainingState(2, {"adapter/a": torch.zeros(50_000)}))
    folder.close()
    assert [path.name for path in folder.files()] == ["step-00000001.safetensors"]
    assert folder.newest(9).step == 1


def test_prepare_on_a_full_disk(small_disk, tmp_path, pictures):
    from lorakiln.prepare import prepare
    from lorakiln.schema.prepare import PrepareSettings

    settings = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)
    prepare(pictures / "raw", small_disk / "out", settings)
    before = {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()}
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 12_000))
    with pytest.raises(UserError, match="cannot write: No space left on device"):
        prepare(pictures / "raw", small_disk / "out", settings)
    assert {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()} == before
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "out"]
    # What surely does not fit is not begun.
    with pytest.raises(UserError, match=r"the prepared pictures need about .* KiB left"):
        large = PrepareSettings(dataset="raw", resolution=512, bucket={"min": 16, "max": 512, "step": 16}, workers=1)
        prepare(pictures / "raw", small_disk / "out", large)


def test_training_on_a_disk_that_is_too_small(small_disk, tmp_path, micro_encoded, micro_model, programs, checkout):
    folder = checkout(train=settings_of_a_short_run())
    (folder / "outputs" / "encoded").symlink_to(micro_encoded)
    (folder / "cache").symlink_to(small_disk)
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 1 and "Traceback" not in printed
    assert "checkpoints, adapters and samples need about" in printed and "the disk has" in printed
    assert not (folder / "outputs" / "run").exists()


def test_read_only_folders(small_disk, micro_encoded, programs, checkout):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    folder = checkout(train=settings_of_a_short_run())
    (folder / "outputs" / "encoded").symlink_to(micro_encoded)
    (folder / "cache").symlink_to(small_disk)
    status, printed = programs.start("pipelines.train", folder).wait()
    assert status == 1 and "Traceback" not in printed
    assert "cannot write: Read-only file system" in printed and "make the disk writable" in printed


def settings_of_a_short_run():
    return {
        "steps": 4,
        "batch_size": 4,
        "adapter": {"rank": 4, "alpha": 4.0},
        "objective": {},
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "scheduler": {"kind": "constant"},
        "trainer": {"accelerator": "cpu", "threads": 1},
        "tracker": {"kind": "csv"},
        "validation": {"every": 0},
        "samples": {"every": 0},
        "save_every": 1,
        "checkpoint_every": 1,
    }


def test_space_is_told_in_a_readable_unit(tmp_path):
    with pytest.raises(UserError, match=r"the pictures need about 1048576.0 GiB, the disk has .* left"):
        check_space(tmp_path / "not" / "there", 2**50, "the pictures")
    check_space(tmp_path, 1, "a picture")


def test_one_process_writes_beside_an_output(tmp_path):
    (tmp_path / "outputs").mkdir()
    handle = os.open(tmp_path / "outputs", os.O_RDONLY)
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="another process is writing here"), replacing(tmp_path / "outputs" / "run"):
        pass
    os.close(handle)
    with claimed(tmp_path / "outputs" / "run"), replacing(tmp_path / "outputs" / "run") as fresh:
        (fresh / "a").touch()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["run"]


@pytest.mark.parametrize("exchange", [True, False])
def test_the_new_folder_takes_the_place_of_the_old(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr("lorakiln.artefacts.folders._exchange", lambda one, other: False)
    for name in ("one", "two"):
        with replacing(tmp_path / "out") as fresh:
            (fresh / name).touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_swap_that_was_cut_off_is_finished(tmp_path, monkeypatch, renames):
    """Where folders cannot change places in one step."""

    def limited(old, new, replace=os.replace):
        nonlocal renames
        if not renames:
            raise KeyboardInterrupt
        renames -= 1
        replace(old, new)

    with replacing(tmp_path / "out") as fresh:
        (fresh / "one").touch()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) if renames < 2 else patch.context():
        patch.setattr("lorakiln.artefacts.folders._exchange", lambda one, other: False)
        patch.setattr("lorakiln.artefacts.folders.os.replace", limited)
        with replacing(tmp_path / "out") as fresh:
            (fresh / "two").touch()
    recover(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
