"""Damaged variants of good input: told as bad, or read; never another error, a hang, or memory without bound."""

import copy
import resource
import shutil
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lorakiln.console.errors import UserError
from lorakiln.prepare.decode import Decoded, decode
from lorakiln.prepare.unusable_files import Refused
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.schema.whole_config import Config, check_whole
from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder.captions import LONGEST, FolderCaptions
from pipelines.compose import compose_config, make_overrides

QUIET = {"deadline": 5000, "suppress_health_check": list(HealthCheck), "derandomize": True, "database": None}
FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "ppm": "PPM",
    "avif": "AVIF",
    "jp2": "JPEG2000",
}
GROWTH = 500_000  # KiB that the process may grow by
TINY = PrepareSettings(
    dataset="raw", resolution=64, bucket={"min": 32, "max": 128, "step": 16}, workers=1, max_pixels=1_000_000
)


@st.composite
def damages(draw):
    """What is done to a file: places from 0 to 1, and bytes."""
    place = st.floats(0, 1, exclude_max=True)
    one = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("double"), place, st.integers(1, 64)),
        st.tuples(st.just("large"), place, st.sampled_from([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1])),
    )
    return draw(st.lists(one, min_size=1, max_size=4))


def damaged(content: bytes, changes) -> bytes:
    for kind, place, value in changes:
        at = int(place * len(content))
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + value + content[at:]
        elif kind == "double":
            content = content[: at + value] + content[at:]
        elif kind == "large":
            content = content[:at] + struct.pack(">I", value) + content[at + 4 :]
    return content


@pytest.fixture(scope="module")
def good():
    """A good picture of every format, with an EXIF block, a colour profile and a comment where there is room."""
    shades = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    image = Image.fromarray(shades)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {}
    for ending, name in FORMATS.items():
        buffer = BytesIO()
        image.save(buffer, name, **({"exif": exif.tobytes()} if name in ("JPEG", "PNG", "WEBP", "AVIF") else {}))
        pictures[ending] = buffer.getvalue()
    return pictures


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_pictures(tmp_path, good, ending):
    path = tmp_path / f"a.{ending}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = set()

    @settings(max_examples=100, **QUIET)
    @given(damages())
    def check(changes):
        content = damaged(good[ending], changes)
        path.write_bytes(content)
        try:
            result = decode(path, TINY)
            assert isinstance(result, Decoded) and result.image.mode == "RGB"
        except Refused as refused:
            result = refused
            assert refused.reason and refused.fix
        outcomes.add(type(result))
        assert path.read_bytes() == content

    check()
    assert Refused in outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH


def test_damaged_captions(tmp_path):
    path = tmp_path / "a.txt"
    files = FolderCaptions(tmp_path, [".txt"], follow_symlinks=False)
    texts = st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")),
        st.text(max_size=100).map(lambda text: text.encode("utf-16", "replace")),
        st.text(max_size=100).map(lambda text: text.encode("latin-1", "replace")),
        st.integers(LONGEST - 1, LONGEST + 2).map(lambda length: b"x" * length),
    )

    @settings(max_examples=300, **QUIET)
    @given(texts)
    def check(content):
        path.write_bytes(content)
        result = files.read("a.txt", "a.png")
        if isinstance(result, CaptionProblem):
            assert result.what and result.fix
        else:
            assert result and result == " ".join(result.split()) and "\0" not in result
            assert len(content) <= LONGEST
        assert path.read_bytes() == content

    check()


@pytest.mark.parametrize("content", [b"", b" \r\n", b"x" * (LONGEST + 1), b"\xff\xfea", b"a\0b"])
def test_captions_that_are_none(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert isinstance(FolderCaptions(tmp_path, [".txt"], False).read("a.txt", "a.png"), CaptionProblem)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.text(max_size=20),
    st.sampled_from(["1e-4", "${oc.env:HOME}", "../../x", "_target_", "", "null", "\0"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_damaged_configs():
    whole = compose_config(["+experiment=smoke"])
    one = st.tuples(st.sampled_from(list(paths_of(whole))), st.sampled_from(["set", "drop", "add"]), VALUES)

    @settings(max_examples=300, **QUIET)
    @given(st.lists(one, min_size=1, max_size=3))
    def check(changes):
        config = copy.deepcopy(whole)
        for path, kind, value in changes:
            change(config, path, kind, value)
        try:
            assert isinstance(check_whole(config), Config)
        except UserError as error:
            assert str(error)

    check()


@pytest.mark.slow
def test_damaged_experiments(tmp_path):
    """The files that people write, through composing and checking, as both doors do it."""
    good = Path("conf/experiment/smoke.yaml").read_bytes()
    conf = shutil.copytree("conf", tmp_path / "conf")
    outcomes = set()

    @settings(max_examples=80, **QUIET)
    @given(damages())
    def check(changes):
        (conf / "experiment/mine.yaml").write_bytes(damaged(good, changes))
        outcomes.add(outcome_of(["+experiment=mine"], conf))

    check()
    assert outcomes == {Config, UserError}


@pytest.mark.slow
def test_experiments_that_say_anything(tmp_path):
    """Whole files of any structure, with Hydra's own words and interpolations among it."""
    conf = shutil.copytree("conf", tmp_path / "conf")
    words = st.sampled_from(
        [
            "defaults",
            "hydra",
            "train",
            "/train",
            "override /model",
            "_self_",
            "${train.seed}",
            "${hydra:run.dir}",
            "${",
            "${oc.env:NOT_THERE}",
            "${oc.create:${train}}",
            "???",
            "optional x",
            "/experiment/mine",
            "tiny",
            "a@b.c",
            "~train",
            "run",
            "dir",
            "seed",
            "callbacks",
            "searchpath",
            "_target_",
            "mode",
            "${now:%Y}",
            "${paths}",
            "",
        ]
    )
    keys = words | st.text(max_size=5)
    inner = st.recursive(
        SCALARS | words, lambda more: st.lists(more, max_size=3) | st.dictionaries(keys, more, max_size=3), max_leaves=8
    )
    defaults = st.lists(words | st.dictionaries(words, SCALARS | words, max_size=2), max_size=3) | inner
    files = st.fixed_dictionaries({}, optional={"defaults": defaults, "hydra": inner, "train": inner, "paths": inner})

    @settings(max_examples=40, **QUIET)
    @given(files, st.booleans())
    def check(content, whole):
        header = "# @package _global_\n" if whole else ""
        text = header + yaml.safe_dump(content, allow_unicode=True)
        (conf / "experiment/mine.yaml").write_bytes(text.encode("utf-8", "replace"))
        outcome_of(["+experiment=smoke", "+experiment@_global_=mine"], conf)
        outcome_of(["+experiment=mine"], conf)

    check()


@pytest.mark.slow
def test_overrides_that_say_anything():
    keys = [".".join(path) for path in paths_of(compose_config(["+experiment=smoke"]))]
    odd = st.sampled_from(["${nope}", "${train.seed}", "{a: [1", "'", "[1,2]", "1,2", "null"])
    one = st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["", "+", "~", "++"]),
            st.sampled_from([*keys, "a", "model", "train/tracker", "hydra", ""]),
            st.sampled_from(["=", "", "@a="]),
            SCALARS.map(str) | odd,
        ),
    )

    @settings(max_examples=80, **QUIET)
    @given(st.lists(one | st.text(max_size=20), min_size=1, max_size=2))
    def check(overrides):
        outcome_of(["+experiment=smoke", *overrides], Path("conf"))

    check()


def outcome_of(overrides, conf):
    """Config or UserError; fails with any other error."""
    try:
        return type(check_whole(compose_config(overrides, conf)))
    except UserError as error:
        assert str(error)
        return UserError


def paths_of(tree, path=()):
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from paths_of(value, (*path, key))


def change(config, path, kind, value):
    for key in path[:-1]:
        config = config.get(key) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        return  # an earlier change took it
    if kind == "drop":
        config.pop(path[-1], None)
    else:
        config[path[-1] if kind == "set" else "_target_"] = value


def test_damaged_params(tmp_path):
    good, path = Path("params.yaml").read_bytes(), tmp_path / "params.yaml"

    @settings(max_examples=200, **QUIET)
    @given(damages())
    def check(changes):
        path.write_bytes(damaged(good, changes))
        try:
            params = read_yaml(path)
            assert isinstance(make_overrides(params), list)
        except UserError as error:
            assert str(error)

    check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "the key 'a' is there twice"),
        ("a: &x [1]\nb: [*x, *x]\n", "aliases"),
        ("a: !!python/object/apply:os.system ['touch owned']\n", "not readable as YAML"),
        ("- a\n", "not a list of settings with names"),
        ("a: [\n", "not readable as YAML"),
        ("a: 2026-13-45\n", "not readable as YAML"),
        ("[" * 100_000, "not readable as YAML"),
        ("a: " + "x" * 2_000_000, "bytes are no settings"),
    ],
    ids=["twice", "aliases", "python", "list", "cut", "date", "deep", "large"],
)
def test_yaml_that_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yaml(tmp_path / "params.yaml")
    assert not (tmp_path / "owned").exists()
