"""Foreign text is shown, and does nothing to the terminal, through every door."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading

import pytest
import yaml

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.progress import show_progress
from lorakiln.console.terminal_text import escape_line, escape_text, printing_safely
from tests.faults.conftest import ROOT

HOSTILE = "a\x1b[31mb\u202ec\x9b2Jd"
SHOWN = r"a\x1b[31mb\u202ec\x9b2Jd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("tabs\tand\nlines stay", "tabs\tand\nlines stay"),
        ("over\rwritten", r"over\rwritten"),
        ("nothing\u200b\ufeff\u2066\u2028", r"nothing\u200b\ufeff\u2066\u2028"),
        ("half \ud83d", r"half \ud83d"),
        ("naïve 日本\u3000語 👩\u200d👩\u200d👧 می\u200cخواهم", "naïve 日本\u3000語 👩\u200d👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_what_is_shown(text, shown):
    assert escape_text(text) == shown
    assert escape_line(text) == shown.replace("\t", r"\t").replace("\n", r"\n")


def test_all_that_is_printed_passes(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with printing_safely():
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr, flush=True)
        sys.stderr.writelines(["\x1b[A", "\r50%|#####     | 5/10", HOSTILE])
        assert not sys.stdout.isatty()
    assert sys.stdout is out and out.getvalue() == f"{SHOWN}\n"
    # What other libraries' progress bars need is left to them.
    assert err.getvalue() == f"{SHOWN}\n\x1b[A\r50%|#####     | 5/10{SHOWN}"


def test_on_a_terminal_the_bar_is_drawn_and_the_rest_made_safe(monkeypatch):
    drawn = io.BytesIO()
    parent, child = pty.openpty()

    def read():
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(parent, 4096):
                drawn.write(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(child, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", terminal)
        with printing_safely(), show_progress("working", 2) as bar:
            bar.advance(1)
            print(f"warning: {HOSTILE}", file=sys.stderr)
            bar.advance(1)
    reader.join()
    os.close(parent)
    drawn = drawn.getvalue().decode()
    assert "warning: " + SHOWN in drawn
    assert "\x1b[?25l" in drawn and "working" in drawn  # the cursor is hidden while the bar is drawn
    assert "\u202e" not in drawn and "\x9b" not in drawn and "\x1b[31mb" not in drawn


@pytest.fixture
def printed(preloaded):
    """What a door prints that has something to complain of."""
    return lambda *words: run(preloaded / "python", *words)


def run(python, folder, module, *arguments):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HUB_OFFLINE": "1", "TERM": "xterm"}
    done = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    (tmp_path / "data" / "raw" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "mine" / f"{HOSTILE}.png").write_bytes(b"no picture")
    for name in ("conf", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_file_names_through_the_second_door(project, printed):
    told = printed(project, "train", "+experiment=smoke", "prepare.dataset=mine", "hydra.run.dir=run")
    assert f"    {SHOWN}.png" in told and "\x1b" not in told and "\u202e" not in told and "\x9b" not in told


def test_tensor_names_through_the_second_door(project, micro_lora, printed):
    given = ("prepare.dataset=demo_style", f"paths.raw={ROOT / 'data/raw'}", f"train.adapter.init_from={micro_lora}")
    told = printed(project, "train", "+experiment=smoke", *given, "caption=none", "hydra.run.dir=run")
    assert SHOWN in told and "\x1b" not in told and "\u202e" not in told and "\x9b" not in told


@pytest.fixture
def micro_lora(tmp_path):
    import torch

    name = f"lora_unet_{HOSTILE}"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 8), f"{name}.lora_up.weight": torch.ones(8, 2)}
    save_tensors(tmp_path / "hostile.safetensors", tensors, {})
    return tmp_path / "hostile.safetensors"


def test_prompts_through_the_first_door(project, printed):
    prompts = {"experiment": "smoke", "overrides": [f"evaluate.prompts=['{HOSTILE}', 7]"]}
    (project / "params.yaml").write_text(yaml.safe_dump(prompts))
    told = printed(project, "pipelines.compose")
    assert "\x1b" not in told and "\u202e" not in told and "\x9b" not in told
