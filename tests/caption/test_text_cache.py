"""What a caption is known by: all that decides its words, and nothing that does not."""

from types import SimpleNamespace

import pytest
import torch

from lorakiln.caption import text_cache
from lorakiln.caption.text_cache import compute_content_keys
from lorakiln.captioners.model_files import identify_source
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.model import Source


@pytest.fixture
def compute_key(tmp_path):
    """The key of one picture."""
    (tmp_path / "a.png").write_bytes(b"a")

    def call(identity="1", **settings):
        captioner = SimpleNamespace(identify=lambda: {"hash": identity})
        given = BlipSettings(**{"trigger": "sks", **settings})
        (key,) = compute_content_keys(captioner, given, {"a.png": tmp_path / "a.png"}).values()
        return key

    return call


def test_the_captioner_its_settings_and_the_picture_decide(compute_key, tmp_path):
    before = compute_key()
    assert compute_key(trigger="another") == compute_key(suffix="at night") == before
    assert len({before, compute_key("2"), compute_key(num_beams=7)}) == 3
    (tmp_path / "a.png").write_bytes(b"b")
    assert compute_key() != before


def test_a_hubs_model_is_known_by_its_name_and_revision_and_a_folder_by_what_is_read_of_it(tmp_path):
    hub = [Source(path=path, revision=revision) for path, revision in (("a/b", "1"), ("a/b", "2"), ("a/c", "1"))]
    assert [identify_source(one, ["*.bin"]) for one in hub] == [one.model_dump() for one in hub]
    (tmp_path / "a.bin").write_bytes(b"a")
    found = [identify_source(Source(path=str(tmp_path)), ["*.bin"])]
    for name in ("README.md", "b.bin"):
        (tmp_path / name).write_bytes(b"b")
        found.append(identify_source(Source(path=str(tmp_path)), ["*.bin"]))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("owner", "name", "value"), [(torch.cuda, "is_available", True), (text_cache, "compute_code_key", "other code")]
)
def test_the_device_and_the_code_decide(compute_key, monkeypatch, owner, name, value):
    """A GPU sums in another order, of which a beam may become another one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = compute_key()
    monkeypatch.setattr(owner, name, lambda *given: value)
    assert compute_key() != before
