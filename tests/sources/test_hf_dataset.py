"""Tables of pictures as the Hub and the library `datasets` write them: what is read of them, and what is refused."""

import io
import json
import pickle
import sys

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
from lorakiln.sources.hf_dataset import HfDataset

pa = pytest.importorskip("pyarrow", reason="the extra `tables`")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `tables`")
SETTINGS = {"dataset": "raw", "resolution": 32, "bucket": {"min": 16, "max": 64, "step": 16}, "workers": 1}


def png(seed=0):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


def make_table(names, texts, seed=0, features=True, **more):
    """As `datasets` makes it of a feature Image and one of strings."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = [{"bytes": png(seed + number), "path": name} for number, name in enumerate(names)]
    columns = {"image": pa.array(pictures, kind), "text": pa.array(texts, pa.string()), **more}
    told = {"info": {"features": {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}}}
    metadata = {"huggingface": json.dumps(told)} if features else {}
    return pa.table(columns).replace_schema_metadata(metadata)


def write(path, table, rows=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".arrow":  # as save_to_disk does
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=rows)
    else:
        parquet.write_table(table, path, row_group_size=rows)
    return path


FILES = {"parquet": "data/train-00000-of-00001.parquet", "arrow": "train/data-00000-of-00001.arrow"}


@pytest.fixture(params=FILES)
def raw(request, tmp_path):
    raw = tmp_path / "raw"
    texts = ["a red  cat", None, "a blue dog", " ", "last"]
    write(raw / FILES[request.param], make_table(["a.png", "b.png", "sub/c.png", "d.png", "e.png"], texts))
    other = FILES[request.param].replace("train", "test")
    write(raw / other, make_table(["x.png"], ["held back"], seed=50))
    (raw / "README.md").write_text("# a card")
    return raw


def folder_of(raw):
    return next(
        path.with_suffix("").relative_to(raw).as_posix()
        for path in raw.rglob("*-of-*")
        if "test" not in str(path.relative_to(raw))
    )


def test_rows_are_pictures_with_their_captions_and_files_beside_win(raw):
    source, folder = open_source(raw), folder_of(raw)
    assert isinstance(source, HfDataset)
    (raw / folder).mkdir()
    (raw / folder / "e.txt").write_text("by hand")
    (raw / folder / "a.png.edit.yaml").write_text("crop: [0, 0, 16, 16]\n")
    found = source.scan()
    assert found.pictures == [f"{folder}/{name}.png" for name in "abcde"] and not found.bad
    assert found.aside == {"test": 1} and found.edits[f"{folder}/a.png"].box == (0, 0, 16, 16)
    for number, name in enumerate("abcde"):  # in whichever order they are asked for
        with pickle.loads(pickle.dumps(source)).picture(f"{folder}/{name}.png") as path:
            assert path.read_bytes() == png(number) and path.suffix == ".png"
    assert not path.exists()
    captions = source.captions([".txt"], PRECEDENCE)
    texts = {name: captions.find(f"{folder}/{name}.png") for name in "abcde"}
    told = {name: file and captions.read(file, f"{folder}/{name}.png") for name, file in texts.items()}
    assert isinstance(told.pop("d"), CaptionProblem)
    assert told == {"a": "a red cat", "b": None, "c": "a blue dog", "e": "by hand"}


def test_a_table_is_the_training_set_that_a_folder_of_the_same_files_is(tmp_path):
    names, texts = ["a.png", "b.png", "c.png"], ["red", "green", "blue"]
    write(tmp_path / "table/raw/s.parquet", make_table(names, texts))
    folder = tmp_path / "folder/raw/s"
    folder.mkdir(parents=True)
    for number, (name, text) in enumerate(zip(names, texts, strict=True)):
        (folder / name).write_bytes(png(number))
        (folder / name).with_suffix(".txt").write_text(text)
    found = {}
    for kind in ("table", "folder"):
        raw, out = tmp_path / kind / "raw", tmp_path / kind
        prepare(raw, out / "prepared", PrepareSettings(**SETTINGS))
        caption(out / "prepared", raw, out / "captioned", NobodySettings(trigger="sks"), Source(path="./nowhere"))
        rows = list(read_jsonl(out / "captioned/metadata.jsonl"))
        pictures = [(out / "captioned" / row["file_name"]).read_bytes() for row in rows]
        found[kind] = [{**row, "caption_file": None} for row in rows], pictures
    assert found["table"] == found["folder"] and [row["text"] for row in found["table"][0]][0] == "sks, red"


def test_one_changed_row_is_one_picture_that_is_made_anew(tmp_path, capsys):
    path = tmp_path / "raw/s.parquet"
    # Without paths, rows are called by their numbers; the content tells which are known.
    write(path, make_table([None] * 3, ["x"] * 3, features=False))
    prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
    told = capsys.readouterr().out
    assert "captions of s.parquet: column text" in told
    rows = list(read_jsonl(tmp_path / "out/metadata.jsonl"))
    assert [row["source"] for row in rows] == ["s/000000", "s/000001", "s/000002"]
    assert not any(row["notes"] for row in rows)
    write(path, make_table([None] * 4, ["x"] * 4, seed=-0, features=False).slice(1))
    prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
    assert "3 pictures (2 reused)" in capsys.readouterr().out


def test_columns_without_the_library_s_features(tmp_path):
    both = make_table(["a.png"], ["x"], features=False, mask=pa.array([{"bytes": png(3), "path": "m.png"}]))
    write(tmp_path / "two/s.parquet", both)
    with open_source(tmp_path / "two").picture("s/a.png") as path:
        assert path.read_bytes() == png(0)
    write(tmp_path / "plain/s.parquet", pa.table({"image": [png(1)], "prompt": ["of it"]}))
    source = open_source(tmp_path / "plain")
    captions = source.captions([], PRECEDENCE)
    assert source.scan().pictures == ["s/000000"] and captions.read("s.parquet", "s/000000") == "of it"
    with source.picture("s/000000") as path:
        assert path.read_bytes() == png(1)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "no whole table"),
        (lambda path: path.write_bytes(b""), "no whole table"),
        (lambda path: write(path, pa.table({"text": ["x"]})), r"(?s)no column of pictures.*s.parquet \(text\)"),
        (
            lambda path: write(
                path,
                make_table(["a.png"], ["x"])
                .rename_columns(["left", "text"])
                .append_column("right", make_table(["b.png"], ["x"]).column("image")),
            ),
            r"(?s)several columns of pictures.*s.parquet \(left, right\)",
        ),
        (lambda path: (path.unlink(), path.with_name(f"{path.name}.dvc").write_text("")), "only its DVC pointer"),
    ],
    ids=["cut off", "empty", "no picture", "two columns", "pointer"],
)
def test_what_cannot_be_used_is_told(tmp_path, spoil, reason):
    write(tmp_path / "raw/t.parquet", make_table(["c.png"], ["y"], seed=9))
    spoil(write(tmp_path / "raw/s.parquet", make_table(["a.png"], ["x"], features=False)))
    with pytest.raises(UserError, match=reason):
        prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
    prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS, on_bad="skip"))
    assert [row["source"] for row in read_jsonl(tmp_path / "out/metadata.jsonl")] == ["t/c.png"]


def test_a_row_without_its_picture_and_a_table_that_changes_are_told(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png(), "path": "a.png"}, {"bytes": None, "path": "/elsewhere/b.png"}, None]
    path = write(tmp_path / "raw/s.parquet", pa.table({"image": pa.array(rows, kind)}))
    source = open_source(tmp_path / "raw")
    assert source.scan().pictures == ["s/000000", "s/000001", "s/000002"]
    with pytest.raises(UserError, match="the row has no picture in it"):
        prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
    write(path, make_table(["a.png", "b.png"], ["x", "y"]))
    with pytest.raises(FileNotFoundError), source.picture("s/000000"):
        pass


def test_a_table_that_is_damaged_within_is_told(tmp_path):
    path = write(tmp_path / "raw/s.parquet", make_table(["a.png", "b.png", "c.png"], ["x", "y", "z"]))
    content = path.read_bytes()
    path.write_bytes(content[:6] + b"\xff" * 60 + content[66:])  # the head of the first rows' page of bytes
    prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS, on_bad="skip"))
    assert [row["source"] for row in read_jsonl(tmp_path / "out/metadata.jsonl")] == ["s/c.png"]
    told = {row["reason"].partition(": ")[2][:21] for row in read_jsonl(tmp_path / "out/quarantine.jsonl")}
    assert told == {"its table is damaged:"}


def test_pictures_beside_a_table_are_a_folder(tmp_path):
    write(tmp_path / "raw/s.parquet", make_table(["a.png"], ["x"]))
    (tmp_path / "raw/b.png").write_bytes(png())
    assert isinstance(open_source(tmp_path / "raw"), Folder)


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path / "raw/s.parquet", make_table(["a.png"], ["x"]))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        UserError, match=r"(?s)s.parquet: tables are read by pyarrow.*pip install \"lorakiln\[tables\]\""
    ):
        prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(**SETTINGS))
