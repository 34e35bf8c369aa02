"""Kinds of an installed package, with their conf files, through `python -m train`."""

import os
import shutil

import pytest

from lorakiln.artefacts.tensor_files import read_metadata
from tests.pipelines.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_an_installed_optimizer_and_schedule_train(own_project, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    shutil.copyfile(ROOT / "tests/train/made_up.py", site / "made_up.py")
    info = site / "made_up-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made_up\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lorakiln.kinds]\nmade_up = made_up:add_kinds\n")
    own_project.environment["PYTHONPATH"] += os.pathsep + str(site)
    groups = own_project.folder / "conf/train"
    (groups / "optimizer/sign.yaml").write_text("kind: sign\nlr: 1e-3\npart_lrs: {}\nmomentum: 0.9\n")
    (groups / "scheduler/halving.yaml").write_text("kind: halving\nwarmup_steps: 0\nevery: 3\n")
    command = (
        "python",
        "-m",
        "train",
        "+experiment=smoke",
        "train/optimizer=sign",
        "train/scheduler=halving",
        "hydra.run.dir=runs/smoke/added",
    )
    refused = own_project.run(*command, "train.optimizer.momentum=2", status=1)
    assert "train.optimizer.momentum: Input should be less than 1 (got 2)" in refused
    told = own_project.run(*command, "train.optimizer.momentum=0.5")
    assert "halving, 0 warm-up steps" in told
    metadata = read_metadata(own_project.folder / "runs/smoke/added/lora/demo_style.safetensors")
    assert metadata["ss_optimizer"] == "made_up.SignSGD(momentum=0.5)"
    assert metadata["ss_lr_scheduler"] == "halving"
