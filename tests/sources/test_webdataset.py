"""Shards as a dataset: what is read of them, what lies beside them and wins, and what is damaged or refused."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.sources import CaptionProblem, open_source
from lorakiln.sources.folder import Folder
from lorakiln.sources.folder.captions import PRECEDENCE
from lorakiln.sources.webdataset import WebDataset

SETTINGS = {"dataset": "raw", "resolution": 32, "bucket": {"min": 16, "max": 64, "step": 16}, "workers": 1}


def png(seed=0):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


def pack(path, members):
    """Write a tar file of names with their bytes, texts, or (type, target) for links and the like."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                entry.type, entry.linkname = content
                archive.addfile(entry)
                continue
            content = content.encode() if isinstance(content, str) else content
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def raw(tmp_path):
    first = [
        *(("a.png", png(0)), ("a.txt", "a red cat"), ("a.depth.png", png(9))),
        *(("./b.png", png(1)), ("./b.json", json.dumps({"text": "a  blue dog", "tags": "dog sky"}))),
        *(("deep/c.png", png(2)), ("deep/c.json", json.dumps({"tag_string": "long_hair solo"}))),
        *(("d.txt", "of nothing"), (".hidden.png", png(8)), ("__MACOSX/a.png", b"no picture")),
    ]
    pack(tmp_path / "raw/s-0.tar", first)
    pack(tmp_path / "raw/s-1.tar", [("a.png", png(3)), ("a.TXT", "another"), ("a.cls", "7")])
    return tmp_path / "raw"


def find_texts(raw, precedence=PRECEDENCE):
    source = open_source(raw)
    captions = source.captions([".txt"], precedence)
    names = {picture: captions.find(picture) for picture in source.scan().pictures}
    return {picture: name and captions.read(name, picture) for picture, name in names.items()}


def test_shards_are_read_as_the_folders_that_they_would_unpack_to(raw):
    source = open_source(raw)
    assert isinstance(source, WebDataset)
    found = source.scan()
    assert found.pictures == ["s-0/a.png", "s-0/b.png", "s-0/deep/c.png", "s-1/a.png"] and not found.bad
    assert found.others == {".depth.png": 1, ".txt": 3, ".json": 2, ".cls": 1}
    assert found.remarks == ["samples without a picture (1): s-0/d"]
    with source.picture("s-0/deep/c.png") as path:
        assert path.read_bytes() == png(2) and path.suffix == ".png"
    assert not path.exists() and pickle.loads(pickle.dumps(source)).scan() == found
    assert find_texts(raw) == {
        "s-0/a.png": "a red cat",
        "s-0/b.png": "a blue dog",
        "s-0/deep/c.png": "long hair, solo",
        "s-1/a.png": "another",
    }
    assert find_texts(raw, ["tags", "sidecar"])["s-0/b.png"] == "dog, sky"
    assert list(source.captions([".txt"], PRECEDENCE).without_picture(found.pictures)) == ["s-0/d.txt"]


def test_files_beside_the_shards_win(raw):
    (raw / "s-0").mkdir()
    (raw / "s-0/a.txt").write_text("by hand")
    (raw / "s-0/b.png.edit.yaml").write_text("caption: edited\ncrop: [0, 0, 16, 16]\n")
    (raw / "s-1").mkdir()
    (raw / "s-1/a.png.edit.yaml").write_text("excluded: true\n")
    found = open_source(raw).scan()
    assert found.excluded == ["s-1/a.png"] and found.edits["s-0/b.png"].box == (0, 0, 16, 16)
    assert find_texts(raw) == {"s-0/a.png": "by hand", "s-0/b.png": "edited", "s-0/deep/c.png": "long hair, solo"}


def test_one_changed_picture_is_one_that_is_made_anew(raw, tmp_path, capsys):
    prepare(raw, tmp_path / "out", PrepareSettings(**SETTINGS))
    assert "prepare: samples without a picture (1): s-0/d" in capsys.readouterr().out
    # It is packed anew, in another order.
    pack(raw / "s-0.tar", [("deep/c.png", png(2)), ("a.png", png(7)), ("b.png", png(1))])
    prepare(raw, tmp_path / "out", PrepareSettings(**SETTINGS))
    assert "4 pictures (3 reused)" in capsys.readouterr().out
    caption(tmp_path / "out", raw, tmp_path / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    rows = read_jsonl(tmp_path / "captioned/metadata.jsonl")
    assert [(row["source"], row["text"]) for row in rows][-1] == ("s-1/a.png", "sks, another")


def test_a_shard_that_changes_while_it_is_read_is_told(raw):
    source = open_source(raw)
    source.scan()
    pack(raw / "s-1.tar", [("x.txt", "in front" * 100), ("a.png", png(3))])
    with pytest.raises(FileNotFoundError), source.picture("s-1/a.png"):
        pass


LINK, HARD, PIPE = (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "a.png"), (tarfile.FIFOTYPE, "")


@pytest.mark.parametrize(
    ("member", "content", "source", "reason"),
    [
        ("../../out.png", png(), "x.tar: ../../out.png", "a path that leads out of its shard"),
        ("/abs.png", png(), "x.tar: /abs.png", "a path that leads out of its shard"),
        ("l.png", LINK, "x.tar: l.png", "a link in a shard"),
        ("h.png", HARD, "x.tar: h.png", "a link in a shard"),
        ("p.png", PIPE, "x.tar: p.png", "not a regular file"),
        (b"\xff.png".decode("utf-8", "surrogateescape"), png(), "x.tar: \\xff.png", "its name is not UTF-8"),
        ("a.psd", png(), "x/a.psd", "a Photoshop document"),
        ("a.jpg", png(), "x/a.jpg", "the same name but for ending, case or accents' encoding"),
        ("a.png", png(), "x/a.png", "twice in its shard"),
    ],
)
def test_what_must_not_be_read_is_refused(tmp_path, member, content, source, reason):
    with tarfile.open(pack(tmp_path / "raw/x.tar", []), "w", format=tarfile.GNU_FORMAT) as archive:
        for name, given in (("a.png", png()), ("b.png", png(1)), (member, content)):
            entry = tarfile.TarInfo(name)
            if isinstance(given, tuple):
                entry.type, entry.linkname = given
            else:
                entry.size = len(given)
            archive.addfile(entry, None if isinstance(given, tuple) else io.BytesIO(given))
    found = open_source(tmp_path / "raw").scan()
    assert (source, reason) in [(one.source, one.reason) for one in found.bad]
    assert "x/b.png" in found.pictures and source not in found.pictures


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda data: data[: 512 + 100], "cut off: the shard ends within it"),
        (lambda data: data[: 512 + 200], "no whole tar file"),
        (lambda data: b"", "no whole tar file"),
        (lambda data: b"\x1f\x8b" + data, "no whole tar file"),
        # A download that stopped between two members, and within the second's header.
        (lambda data: data[: data.index(b"b.png")], "cut off: it has no end mark"),
        (lambda data: data[: data.index(b"b.png") + 300], "cut off: it has no end mark"),
        (lambda data: data.replace(b"b.png", b"c.png"), "damaged: what stands behind its last readable member"),
        (lambda data: data + data, "two tar files one behind the other"),
    ],
    ids=["data", "data's end", "empty", "compressed", "between", "header", "header's sum", "joined"],
)
def test_a_damaged_shard_is_told_and_what_is_whole_of_it_can_be_used(tmp_path, cut, reason):
    path = pack(tmp_path / "raw/x.tar", [("a.png", png()), ("b.png", png(1))])
    path.write_bytes(cut(path.read_bytes()))
    pack(tmp_path / "raw/y.tar", [("c.png", png(2))])
    with pytest.raises(UserError, match=reason):
        prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
    prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS, on_bad="skip"))
    sources = {row["source"] for row in read_jsonl(tmp_path / "out/metadata.jsonl")}
    assert "y/c.png" in sources and sources <= {"x/a.png", "x/b.png", "y/c.png"}
    assert ("x/b.png" in sources) == (reason == "two tar files one behind the other")


def test_a_shard_that_was_not_pulled_or_leads_away_is_told(raw, tmp_path):
    (raw / "s-1.tar").rename(tmp_path / "away.tar")
    (raw / "s-1.tar").symlink_to(tmp_path / "away.tar")
    (raw / "s-2.tar.dvc").write_text("outs: []\n")
    found = open_source(raw).scan()
    assert [(one.source, one.reason) for one in found.bad] == [
        ("s-1.tar", "a link that leads out of the dataset's folder"),
        ("s-2.tar", "only its DVC pointer is here, not what it stands for"),
    ]
    assert "s-1/a.png" in open_source(raw, follow_symlinks=True).scan().pictures


def test_pictures_beside_a_shard_are_a_folder(raw):
    (raw / "extra").mkdir()
    (raw / "extra/x.png").write_bytes(png())
    assert isinstance(open_source(raw), Folder)
    assert isinstance(open_source(raw, kind="webdataset"), WebDataset)


def test_captions_that_cannot_be_used_are_told(tmp_path):
    members = [(f"{name}.png", png(seed)) for seed, name in enumerate("abc")]
    texts = [("a.txt", b"\xff\xfe\x00"), ("b.json", "{"), ("c.txt", " ")]
    pack(tmp_path / "raw/x.tar", [*members, *texts])
    found = find_texts(tmp_path / "raw")
    assert all(isinstance(one, CaptionProblem) for one in found.values())
    assert [one.file for one in found.values()] == ["x/a.txt", "x/b.json", "x/c.txt"]
    assert found["x/b.png"].what == "is no JSON" and found["x/c.png"].what == "empty"
