"""Tags by a tagger of WD's form: what the network is given, and what becomes of what it says."""

import sys

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.captioners import tagger
from lorakiln.captioners.tagger.network import Network, fit_picture
from lorakiln.captioners.tagger.tag_list import TagList
from lorakiln.console.errors import UserError
from lorakiln.schema.captioners.tagger import TaggerSettings
from lorakiln.schema.model import Source
from pipelines.compose import compose_config

NOWHERE = Source(path="./nowhere")
# Name, category and how much of each colour it takes, of which a picture's means are 0 to 1.
ROWS = [
    ("sensitive", "9", (0.4, 0.3, 0.3)),
    ("red_hair", "0", (1, 0, 0)),
    ("1girl", "0", (0.5, 0.5, 0)),
    ("^_^", "0", (0, 0.9, 0)),
    ("hatsune_miku", "4", (0, 0, 1)),
    ("some_artist", "1", (0.4, 0.3, 0.3)),
    ("blue_(sky)", "0", (0, 0.1, 0.8)),
]


def write_list(folder, rows=ROWS):
    folder.mkdir(exist_ok=True)
    lines = [f"{number},{name},{sort},1" for number, (name, sort, _) in enumerate(rows)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *lines]) + "\n")
    return folder


@pytest.fixture
def tags(tmp_path):
    return TagList.read(write_list(tmp_path / "list") / "selected_tags.csv")


def pick(tags, scores, **settings):
    chooser = tags.choose(TaggerSettings(**settings))
    return chooser.pick(np.array(scores, dtype=np.float32))


#         rating red  girl  ^_^  miku  artist sky
SCORES = [0.99, 0.40, 0.95, 0.35, 0.90, 0.99, 0.34]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["hatsune miku", "1girl", "red hair", "^_^"]),  # the threshold's own value is sure enough
        ({"general_threshold": 0.34}, ["hatsune miku", "1girl", "red hair", "^_^", "blue (sky)"]),
        ({"character_threshold": 0.91}, ["1girl", "red hair", "^_^"]),
        ({"character_threshold": None, "general_threshold": 0.5}, ["1girl"]),
        ({"characters_first": False}, ["1girl", "hatsune miku", "red hair", "^_^"]),
        ({"order": "alphabet"}, ["hatsune miku", "1girl", "^_^", "red hair"]),
        ({"order": "list", "characters_first": False}, ["red hair", "1girl", "^_^", "hatsune miku"]),
        ({"first_tags": ["^_^", "blue_(sky)", "1girl"]}, ["^_^", "1girl", "hatsune miku", "red hair"]),
        ({"underscores": True, "excluded_tags": ["red hair"]}, ["hatsune_miku", "1girl", "^_^"]),
        ({"excluded_tags": ["red_hair", "hatsune miku"]}, ["1girl", "^_^"]),
        ({"replaced_tags": {"hatsune_miku": "mascot", "red hair": ""}}, ["mascot", "1girl", "^_^"]),
        ({"replaced_tags": {"red hair": "1girl"}}, ["hatsune miku", "1girl", "^_^"]),
        ({"general_threshold": 1.0, "character_threshold": 1.0}, []),
    ],
)
def test_what_is_sure_enough_is_written_in_its_order(tags, settings, expected):
    assert pick(tags, SCORES, **settings) == expected


@pytest.mark.parametrize("setting", ["excluded_tags", "first_tags", "replaced_tags"])
def test_tags_that_the_tagger_has_not_are_refused_with_the_nearest(tags, setting):
    given = ["redhair"]
    with pytest.raises(UserError, match="the tagger has no tag 'redhair'") as refused:
        tags.choose(TaggerSettings(**{setting: dict.fromkeys(given, "") if setting == "replaced_tags" else given}))
    assert refused.value.fix == "did you mean red hair?" and refused.value.where == f"caption.{setting}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "missing: not a tagger's folder"),
        (b"", "no column name"),
        (b"tag_id,name,count\n1,solo,3\n", "no column category"),
        (b"tag_id,name,category,count\n", "a row without a name"),
        (b"tag_id,name,category,count\n1,,0,3\n", "a row without a name"),
        (b"tag_id,name,category,count\n1,caf\xe9,0,3\n", "can't decode byte 0xe9"),
    ],
)
def test_what_is_no_list_of_tags_is_refused(tmp_path, content, what):
    path = tmp_path / "selected_tags.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=what):
        TagList.read(path)


def test_a_picture_is_in_the_middle_of_a_white_square_blue_first():
    red = Image.new("RGB", (12, 4), (200, 10, 30))
    square = fit_picture(red, 6)
    assert square.shape == (6, 6, 3) and square.dtype == np.float32
    # 12 x 12 to 6 x 6: two of 12 rows become one, and the picture's are the fifth to the eighth.
    assert (square[2:4] == (30, 10, 200)).all() and (square[:2] == 255).all() and (square[4:] == 255).all()
    noise = np.random.default_rng(1).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    given = fit_picture(Image.fromarray(noise), 3)
    padded = np.full((9, 9, 3), 255.0)
    padded[:, 1:7] = noise  # 3 columns more: one at the left, two at the right
    means = padded.reshape(3, 3, 3, 3, 3).mean(axis=(1, 3))
    assert np.abs(given - means[:, :, ::-1]).max() <= 1  # rounded along each axis
    assert fit_picture(Image.fromarray(noise), 18).shape == (18, 18, 3)


@pytest.fixture
def write_tagger(tmp_path):
    """Writes a tagger's folder: of each tag it is as sure as a picture's mean colours, times those of ROWS, say."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def write(name="tagger", shape=("N", 8, 8, 3), rows=ROWS, scale=1 / 255):
        folder = write_list(tmp_path / name, rows)
        weights = np.array([colours[::-1] for _, _, colours in rows], dtype=np.float32).T * scale
        constants = {"weights": weights, "axes": np.array([1, 2])}
        nodes = [
            helper.make_node("ReduceMean", ["pictures", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        ]
        graph = helper.make_graph(
            nodes,
            "tags",
            [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.save(model, folder / "model.onnx")
        return Source(path=str(folder))

    return write


@pytest.fixture
def coloured(prepared):
    """The prepared pictures without a caption, in plain colours."""
    for name, colour in (("a", (255, 0, 0)), ("c", (0, 204, 255)), ("e", (0, 0, 0))):
        Image.new("RGB", (64, 64), colour).save(prepared / f"{name}.png")
    return prepared


def texts(folder):
    return {row["file_name"]: row["text"] for row in read_jsonl(folder / "metadata.jsonl")}


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_pictures_get_the_tags_of_their_own(tmp_path, coloured, raw, write_tagger, batch, capsys):
    source = write_tagger(shape=(batch, 8, 8, 3))
    settings = TaggerSettings(source=source, trigger="sks", batch_size=2, general_threshold=0.39)
    caption(coloured, raw, tmp_path / "out", settings, NOWHERE)
    # Cyan: 0.8 of green and 1 of blue; ^_^ is 0.72, 1girl 0.4, the sky 0.88, Miku 1, and whoever drew it 0.54.
    found = texts(tmp_path / "out")
    assert found["a.png"] == "sks, red hair, 1girl"
    assert found["c.png"] == "sks, hatsune miku, blue (sky), ^_^, 1girl"
    told = capsys.readouterr().out
    assert "3 pictures for the tagger, on the CPU" in told and "3 by the captioner (3 new)" in told
    # It was sure of nothing: the trigger words are left.
    assert found["e.png"] == "sks"
    row = next(row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl") if row["file_name"] == "a.png")
    assert (row["caption_source"], row["written"]) == ("tagger", "red hair, 1girl")
    assert read_json(tmp_path / "out" / "dataset.json")["captioner"] == source.model_dump()


def test_another_threshold_list_or_network_tags_anew(tmp_path, coloured, raw, write_tagger, capsys):
    def new(**settings):
        settings = {"source": write_tagger(), "trigger": "sks", **settings}
        caption(coloured, raw, tmp_path / "out", TaggerSettings(**settings), NOWHERE)
        return capsys.readouterr().out.split("by the captioner (")[1].split(" new")[0]

    assert [new(), new(), new(trigger="zwx"), new(general_threshold=0.4)] == ["3", "0", "0", "3"]
    assert new(source=write_tagger("moved"), general_threshold=0.4) == "0"  # known by its content
    assert new(source=write_tagger("moved", rows=[("solo", *ROWS[0][1:]), *ROWS[1:]]), general_threshold=0.4) == "3"
    assert new(source=write_tagger("other", scale=0.9 / 255), general_threshold=0.4) == "3"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"shape": ("N", 8, 6, 3)}, r"its input is pictures \('N', 8, 6, 3\)"),
        ({"shape": ("N", "side", "side", 3)}, "its input is pictures"),
        ({"scale": 2 / 255}, "what it gives is not from 0 to 1"),
    ],
)
def test_networks_of_another_form_are_refused(tmp_path, coloured, raw, write_tagger, written, message):
    settings = TaggerSettings(source=write_tagger(**written))
    with pytest.raises(UserError, match=message) as refused:
        caption(coloured, raw, tmp_path / "out", settings, NOWHERE)
    assert "docs/captioners.md" in refused.value.fix and not (tmp_path / "out").exists()


def test_a_list_of_another_network_and_what_is_no_network_are_refused(tmp_path, coloured, raw, write_tagger):
    source = write_tagger()
    folder = write_list(tmp_path / "tagger", ROWS[:-1])

    def refused(message):
        with pytest.raises(UserError, match=message):
            caption(coloured, raw, tmp_path / "out", TaggerSettings(source=source), NOWHERE)

    refused(r"its output is scores \('N', 7\), and its list has 6 tags")
    (folder / "model.onnx").write_bytes(b"no network")
    refused("it cannot be read")
    (folder / "model.onnx").unlink()
    refused("missing: not a tagger's folder")
    with pytest.raises(UserError, match="a file, not a folder"):
        tagger.make_captioner(Source(path=str(folder / "selected_tags.csv")), TaggerSettings()).identify()


def test_the_library_is_asked_for_where_it_is_missing(tmp_path, coloured, raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="onnxruntime is not installed") as refused:
        caption(coloured, raw, tmp_path / "out", TaggerSettings(), NOWHERE)
    assert refused.value.fix == 'pip install "lorakiln[taggers]"'


def test_a_network_says_where_it_computes(write_tagger, tmp_path):
    network = Network.load(tmp_path / write_tagger().path / "model.onnx", len(ROWS))
    assert (network.side, network.batch, network.device) == (8, None, "the CPU")


def test_it_is_chosen_by_its_name(tmp_path):
    composed = compose_config(["+experiment=smoke", "caption=tagger", "caption.source.path=mine"])
    assert composed["caption"]["source"] == {"path": "mine", "revision": None}
