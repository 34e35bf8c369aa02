"""The same pictures by every kind of source are the same training set, by one that is no part of the package too: that
is recognised by what lies there, prepared from and captioned from.
"""

import base64
import io
import json
import pickle
import shutil
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.sources import SOURCES, CaptionProblem, SourceContents, UnusableFile, open_source
from lorakiln.sources.folder import Folder

ALBUM = "album.json"
NOWHERE = Source(path="./nowhere")


class Words:
    def __init__(self, pages):
        self.pages = pages

    def find(self, picture):
        return f"{picture}#text" if self.pages[picture].get("text") is not None else None

    def read(self, name, picture):
        text = self.pages[name.removesuffix("#text")]["text"]
        return text or CaptionProblem(name, "empty", "write one")

    def read_lines(self, name, picture):
        text = self.read(name, picture)
        return text if isinstance(text, CaptionProblem) else [text]

    def without_picture(self, pictures):
        return iter(())


@dataclass(frozen=True)
class Album:
    """All pictures in one JSON file, each with its text."""

    raw: Path

    def pages(self):
        return json.loads((self.raw / ALBUM).read_text())

    def scan(self):
        pages = self.pages()
        lost = [
            UnusableFile(name, "no picture on this page", "glue one in")
            for name, page in pages.items()
            if not page["data"]
        ]
        return SourceContents(sorted(name for name, page in pages.items() if page["data"]), lost)

    @contextmanager
    def picture(self, name):
        path = self.raw.with_name(f"unpacked-{name}")
        path.write_bytes(base64.b64decode(self.pages()[name]["data"]))
        try:
            yield path
        finally:
            path.unlink()

    def captions(self, endings, precedence):
        return Words(self.pages())


@pytest.fixture
def album():
    kind = SimpleNamespace(
        recognise=lambda raw: (raw / ALBUM).is_file(), open_source=lambda raw, follow_symlinks: Album(raw)
    )
    SOURCES.add("album", kind)
    yield
    SOURCES.remove("album")


def png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def raw(tmp_path, noise):
    """Three pictures as an album, and the same as a folder of files."""
    album, folder = tmp_path / "raw", tmp_path / "files" / "raw"
    album.mkdir()
    folder.mkdir(parents=True)
    pages = {}
    for number, text in enumerate(["a red cat", None, "a blue dog"]):
        data = png(noise(64, 48 + 16 * number, number))
        pages[f"{number}.png"] = {"data": base64.b64encode(data).decode(), "text": text}
        (folder / f"{number}.png").write_bytes(data)
        if text:
            (folder / f"{number}.txt").write_text(text)
    (album / ALBUM).write_text(json.dumps(pages))
    return album


def test_an_added_source_gives_what_a_folder_of_the_same_pictures_gives(album, raw, tmp_path, settings):
    results = {}
    for name, given in (("album", raw), ("folder", tmp_path / "files" / "raw")):
        prepared, captioned = tmp_path / f"{name}-prepared", tmp_path / f"{name}-captioned"
        prepare(given, prepared, settings())
        caption(prepared, given, captioned, NobodySettings(trigger="sks"), NOWHERE)
        results[name] = (
            hash_folder(prepared),
            [{**row, "caption_file": None} for row in read_jsonl(captioned / "metadata.jsonl")],
        )
    assert results["album"] == results["folder"]
    assert [row["text"] for row in results["album"][1]] == ["sks, a red cat", "sks", "sks, a blue dog"]
    rows = read_jsonl(tmp_path / "album-captioned" / "metadata.jsonl")
    assert [row["caption_file"] for row in rows] == ["0.png#text", None, "2.png#text"]
    assert not list(tmp_path.glob("unpacked-*"))


def pack_shard(files, raw):
    with tarfile.open(raw / "10_sks.tar", "w") as shard:
        for path in sorted(files.iterdir()):
            shard.add(path, path.name)


def write_config(files, raw):
    shutil.copytree(files, raw / "10_sks")
    subset = '[[datasets.subsets]]\nimage_dir = "/elsewhere/10_sks"\nnum_repeats = 1\n'
    (raw / "set.toml").write_text(f"[[datasets]]\n{subset}")


def write_table(files, raw):
    shutil.copytree(files, raw / "10_sks", ignore=shutil.ignore_patterns("*.txt"))
    rows = [{"file_name": f"10_sks/{path.stem}.png", "text": path.read_text()} for path in files.glob("*.txt")]
    (raw / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


MADE = {
    "folder": lambda files, raw: shutil.copytree(files, raw / "10_sks"),
    "webdataset": pack_shard,
    "kohya_config": write_config,
    "imagefolder": write_table,
}


def test_the_same_pictures_by_every_kind_of_source_are_the_same_training_set(raw, tmp_path, settings):
    found = {}
    for name, make in MADE.items():
        given, out = tmp_path / name / "raw", tmp_path / name / "out"
        given.mkdir(parents=True)
        make(tmp_path / "files" / "raw", given)
        # A folder of kohya's name is taken as one of pictures, to have no repeats.
        source = "folder" if name in ("folder", "imagefolder") else "auto"
        prepare(given, out / "prepared", settings(source=source))
        caption(out / "prepared", given, out / "captioned", NobodySettings(trigger="sks"), NOWHERE)
        rows = read_jsonl(out / "captioned/metadata.jsonl")
        # Where a caption stood is all that may differ, and which kind of source was asked for.
        told = [{**row, "caption_file": bool(row["caption_file"])} for row in rows]
        pictures = {row["file_name"]: (out / "captioned" / row["file_name"]).read_bytes() for row in rows}
        found[name] = told, pictures, read_json(out / "captioned/dataset.json")["hash"]
    assert [row["text"] for row in found["folder"][0]] == ["sks, a red cat", "sks", "sks, a blue dog"]
    assert all(one == found["folder"] for one in found.values())


def test_what_an_added_source_finds_wrong_is_told_and_left_out(album, raw, tmp_path, settings):
    pages = json.loads((raw / ALBUM).read_text())
    pages["3.png"] = {"data": "", "text": None}
    pages["4.png"] = {"data": base64.b64encode(b"no picture").decode(), "text": None}
    (raw / ALBUM).write_text(json.dumps(pages))
    with pytest.raises(UserError, match="no picture on this page"):
        prepare(raw, tmp_path / "out", settings())
    prepare(raw, tmp_path / "out", settings(on_bad="skip"))
    left = {row["source"]: row["reason"] for row in read_jsonl(tmp_path / "out" / "quarantine.jsonl")}
    assert set(left) == {"3.png", "4.png"} and left["3.png"] == "no picture on this page"
    assert read_json(tmp_path / "out" / "dataset.json")["pictures"] == 3
    pages["0.png"]["text"] = ""
    (raw / ALBUM).write_text(json.dumps(pages))
    with pytest.raises(UserError, match=r"(?s)empty \(1\); write one.*0.png#text"):
        caption(tmp_path / "out", raw, tmp_path / "captioned", NobodySettings(trigger="sks"), NOWHERE)


def test_a_second_run_reuses_what_came_from_an_added_source(album, raw, tmp_path, settings, capsys):
    prepare(raw, tmp_path / "out", settings())
    prepare(raw, tmp_path / "out", settings())
    assert "3 pictures (3 reused)" in capsys.readouterr().out


def test_a_folder_is_what_no_other_kind_recognises(album, raw, tmp_path):
    assert open_source(raw) == Album(raw)
    (raw / ALBUM).unlink()
    assert open_source(raw, True) == Folder(raw, True)
    assert pickle.loads(pickle.dumps(Folder(raw, True))) == Folder(raw, True)


def test_what_two_kinds_recognise_is_refused_with_their_names(album, raw):
    twin = SimpleNamespace(recognise=lambda raw: True, open_source=lambda raw, follow_symlinks: None)
    SOURCES.add("box", twin)
    try:
        with pytest.raises(UserError, match="can be read as album and as box"):
            open_source(raw)
    finally:
        SOURCES.remove("box")


def test_a_picture_that_goes_while_this_runs_is_told(tmp_path, noise, settings, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    noise(64, 64).save(raw / "a.png")
    monkeypatch.setattr(Folder, "scan", lambda self: SourceContents(["a.png", "gone.png"]))
    with pytest.raises(UserError, match="removed while this ran"):
        prepare(raw, tmp_path / "out", settings())
