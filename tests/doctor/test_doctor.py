"""The command, from its options to its exit status; and with faults planted where machines have them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorakiln.adapters import lora
from lorakiln.cli import main
from lorakiln.console import gpu
from lorakiln.doctor import request
from lorakiln.doctor.random_base import KINDS
from lorakiln.lora_files import kohya_form
from lorakiln.tools.model_settings import find_model_settings
from lorakiln.train import resume, stage
from tests.doctor.conftest import shrunk

NAMES = [
    "software",
    "device",
    "precision",
    "attention",
    "disk",
    "memory",
    "base",
    "pictures",
    "training",
    "peak",
    "samples",
    "export",
    "drawing",
    "resume",
]
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where the command's temporary folder is made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def reported(file):
    """The report's JSON, which stands below its lines."""
    lines, _, data = file.read_text().partition("\n\n")
    return lines.splitlines(), json.loads(data)


@pytest.mark.slow
def test_all_is_well_on_the_tiny_family(tmp_path, preloaded):
    out, work = tmp_path / "report.txt", tmp_path / "secret-client"
    work.mkdir()
    secrets = {"TMPDIR": str(work), "HF_TOKEN": "hf_" + "a1B2" * 8, "HOME": str(tmp_path / "home-of-jo")}
    done = subprocess.run(
        [preloaded / "python", "-m", "lorakiln", "doctor", "--cpu", "--out", str(out)],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines, data = reported(out)
    assert done.stdout.splitlines() == lines
    assert lines[-1] == "all is well: 14 ok" and data["well"] is True
    assert [check["name"] for check in data["checks"]] == NAMES
    facts = {check["name"]: check["facts"] for check in data["checks"]}
    assert len(facts["training"]["losses"]) == 20 and max(facts["training"]["losses"]) < 0.5
    assert facts["pictures"]["buckets"] == {"64x64": 6, "80x48": 4}
    assert facts["samples"]["pictures"] == 2 and facts["samples"]["sizes"] == ["64x64"]
    assert facts["export"]["clients"] == ["kohya", "ComfyUI", "diffusers"] and facts["export"]["layers"] == 56
    # The file draws what the adapter drew in training; fp16 rounds a hundredth of a level.
    assert facts["drawing"]["with"] < 0.5 < 5 < facts["drawing"]["without"]
    assert facts["resume"]["same_bytes"] and 10 <= facts["resume"]["stopped_at"] < 20
    # The network alone is 15 MB, the adapter with its moments 3 MB; Python and torch are not counted.
    assert 20e6 < facts["peak"]["peak"]["resident"] < 1.5e9
    assert not list(work.iterdir())
    text = out.read_text()
    for word in (str(tmp_path), "secret-client", "home-of-jo", secrets["HF_TOKEN"], os.uname().nodename):
        assert word not in text, word


def stronger(adapter):
    return replace(adapter, layers={name: lora.scale(layer, 1.05) for name, layer in adapter.layers.items()})


@pytest.mark.slow
def test_planted_faults_are_found_and_the_rest_is_tried(tmp_path, temporary, micro_model, monkeypatch, capsys):
    out, driver = tmp_path / "report.txt", tmp_path / "version"
    driver.write_text(DRIVER)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(gpu, "NVIDIA", driver)  # a GPU, and a torch without CUDA
    save = kohya_form.save
    monkeypatch.setattr(kohya_form, "save", lambda adapter, *rest: save(stronger(adapter), *rest))
    monkeypatch.setattr(resume, "put_state", lambda *given: None)
    provenance = stage.collect_provenance
    monkeypatch.setattr(stage, "collect_provenance", lambda *given: {**provenance(*given), "memory_counted": 4096})
    assert main(["doctor", micro_model.path, "--out", str(out)]) == 1
    lines, data = reported(out)
    assert capsys.readouterr().out.splitlines() == lines
    checks = {check["name"]: check for check in data["checks"]}
    assert data["well"] is False and list(checks) == [*NAMES[:2], *NAMES[4:]]
    assert {name for name, check in checks.items() if check["status"] == "wrong"} == {"device", "export", "resume"}
    assert {name for name, check in checks.items() if check["status"] == "skipped"} == {"drawing"}
    assert checks["device"]["what"] == f"a GPU is there, but torch {torch.__version__} is a build without CUDA"
    assert checks["device"]["fix"].startswith("pip install torch --index-url https://download.pytorch.org/whl/cu")
    assert checks["device"]["facts"]["driver"] == "535.104.05"
    assert "unlike what was trained" in checks["export"]["what"]
    assert checks["peak"]["status"] == "warning" and checks["peak"]["what"].endswith("; 4.0 KiB were counted")
    assert checks["resume"]["facts"]["difference"] > 0.1 and not checks["resume"]["facts"]["same_bytes"]
    assert lines[-1].startswith("something is wrong: ")
    # A folder's name is nobody else's business.
    assert data["asked"]["base"] == "<base>" and micro_model.path not in out.read_text()
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_a_random_base_goes_through_all_of_it(temporary, monkeypatch, capsys):
    small = {"resolution": 128, "bucket_min": 64, "bucket_max": 256, "bucket_step": 32}
    monkeypatch.setitem(KINDS, "sdxl", shrunk("sdxl"))
    monkeypatch.setattr(
        request, "find_model_settings", lambda *given: find_model_settings(*given).model_copy(update=small)
    )
    assert main(["doctor", "--random", "sdxl", "--micro-batch", "2", "--checkpointing", "--cpu", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in data["checks"]}
    assert list(checks) == NAMES
    assert checks["base"]["what"] == "sdxl_base_v1-0, predicts epsilon, 128 pixels, random weights of its shape"
    assert checks["training"]["what"].startswith("20 steps of 4 pictures, 2 at once, on ")
    assert checks["export"]["facts"]["clients"] == ["kohya", "ComfyUI", "A1111", "diffusers"]
    assert checks["export"]["facts"]["layers"] == 8 * (2 * 1 + 2 * 2 + 2 + 3 * 2 + 3 * 1)
    assert data["asked"]["random"] == "sdxl" and not list(temporary.iterdir())


def test_a_base_that_is_not_there_is_one_line_and_the_machine_is_looked_at(tmp_path, temporary, capsys):
    (tmp_path / "acme").mkdir()
    out, base = tmp_path / "report.txt", tmp_path / "absent"
    assert main(["doctor", str(base), "--out", str(out)]) == 1
    lines, data = reported(out)
    checks = {check["name"]: check for check in data["checks"]}
    assert list(checks) == NAMES
    assert checks["base"]["status"] == "wrong" and checks["base"]["what"] == "<base>: no such folder"
    assert {checks[name]["status"] for name in NAMES[7:]} == {"skipped"}
    assert {checks[name]["status"] for name in NAMES[:6]} == {"ok"}
    # What is there instead helps whoever typed the name, and stays there.
    assert "acme" in capsys.readouterr().out and "acme" not in out.read_text()
    assert not list(temporary.iterdir())


def test_what_there_is_no_room_for_is_not_tried(temporary, disk_of, capsys):
    disk_of(2**31)
    assert main(["doctor", "--random", "sdxl", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in data["checks"]}
    assert checks["disk"]["status"] == "wrong" and "TMPDIR" in checks["disk"]["fix"]
    assert checks["disk"]["facts"]["needed"] == 2 * 3_468_837_867 + 2**30
    assert checks["base"]["what"] == "not tried: there is too little disk"
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_sigterm_leaves_nothing_behind(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "lorakiln", "doctor", "--cpu"],
        env={**os.environ, "TMPDIR": str(work)},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.split()[1] == "pictures":  # the training begins
            break
    while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert not list(work.iterdir()) and not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["models/tiny/sd", "--random", "sdxl"], "--random: stands in the place of a base"),
        (["--out", "README.md"], "README.md: is there already"),
    ],
)
def test_wrong_options_are_told_before_anything_is_tried(options, told, capsys):
    before = Path("README.md").read_bytes()
    assert main(["doctor", *options]) == 1
    said = capsys.readouterr()
    assert told in said.err and said.out == "" and Path("README.md").read_bytes() == before
