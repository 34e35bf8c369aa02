import getpass
import socket
from pathlib import Path

import pytest

from lorakiln.doctor.check import Check, make_skipped_check
from lorakiln.doctor.report import Redaction, format_summary, is_well

TOKEN = "hf_" + "x9Y8" * 8


@pytest.fixture
def redaction(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "forge07.acme.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "johanna")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/johanna"))
    monkeypatch.setenv("SOME_API_KEY", "not-to-be-told-to-anyone")
    return Redaction({"/data/acme/mascot": "<base>", "/data/acme": "<work>"})


@pytest.mark.parametrize(
    ("private", "public"),
    [
        ("/data/acme/mascot/unet: no such file", "<base>/unet: no such file"),
        ("/data/acme/other", "<work>/other"),
        ("in /home/johanna/loras/my dog", "in <home>/loras/my dog"),
        ("cannot read '/mnt/clients/umbrella/sd.safetensors', as told", "cannot read '<path>', as told"),
        ("johanna on forge07 said so", "<user> on <host> said so"),
        ("forge07.acme.example is down", "<host> is down"),
        (f"token {TOKEN} and not-to-be-told-to-anyone", "token *** and ***"),
        ("get https://mirror.acme.example/a/b now", "get <address> now"),
        ("https://download.pytorch.org/whl/cu126 (or another)", "https://download.pytorch.org/whl/cu126 (or another)"),
        ("see https://pytorch.org.evil.example/x", "see <address>"),
        ("3 steps/s, and/or 5/8 of it", "3 steps/s, and/or 5/8 of it"),
        ("families/sd.py:120, torch/nn/functional.py:7", "families/sd.py:120, torch/nn/functional.py:7"),
    ],
)
def test_private_words_are_veiled(redaction, private, public):
    assert redaction(private) == public
    assert redaction({"deep": [private, 3, None]}) == {"deep": [public, 3, None]}


def test_a_report_is_well_if_all_was_tried_and_nothing_is_wrong():
    good, odd = Check("a", "ok", "fine"), Check("b", "warning", "slow", "wait")
    assert is_well([good, odd]) and format_summary([good, odd]) == "all is well: 1 ok, 1 warning"
    assert not is_well([good, make_skipped_check("c", "there is no base")])
    bad = Check("d", "wrong", "broken", "mend it")
    assert not is_well([bad]) and format_summary([bad, good]) == "something is wrong: 1 ok, 1 wrong"
    assert str(bad) == "wrong    d          broken\n                    fix: mend it"
