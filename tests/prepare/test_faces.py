"""Faces that a user's detector finds, and what is kept of a picture for them."""

import sys

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.prepare import faces, prepare
from lorakiln.prepare.buckets import Placement
from lorakiln.prepare.faces import FaceDetector, choose_face
from lorakiln.prepare.onnx_files import OnnxFile
from lorakiln.prepare.uncropped import choose_uncropped_size, place_face
from lorakiln.schema.base import check
from lorakiln.schema.prepare import FaceSettings, PrepareSettings

# Two of one face, one of a smaller face, and one that is nearly all of the picture.
BOXES = [[0.1, 0.1, 0.5, 0.6], [0.12, 0.1, 0.5, 0.6], [0.7, 0.7, 0.8, 0.9], [-0.2, 0.0, 1.2, 1.0]]
SCORES = [0.9, 0.8, 0.95, 0.3]


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        (SCORES, BOXES[0]),  # the larger of two faces, by its better box
        ([0.8, 0.9, 0.95, 0.3], BOXES[1]),
        ([0.1, 0.1, 0.95, 0.3], BOXES[2]),
        ([0.1, 0.1, 0.1, 0.75], [0.0, 0.0, 1.0, 1.0]),  # inside of the picture
        ([0.69] * 4, None),
    ],
)
def test_the_largest_face_is_chosen_by_its_best_box(scores, found):
    face = choose_face(np.array(scores), np.array(BOXES), 0.7)
    assert face == (None if found is None else pytest.approx(tuple(found)))


@pytest.fixture
def stand_in(monkeypatch):
    """A detector whose network is not there: it keeps what it is given, and answers."""

    def make(outputs, channels_first=True):
        given = []
        file = OnnxFile("prepare.face.detector", "x.onnx", "face detector", faces.FORM)
        monkeypatch.setattr(OnnxFile, "run", lambda self, values: (given.append(values), outputs)[1])
        return FaceDetector(file, 0.7, channels_first, (8, 6)), given

    return make


@pytest.mark.parametrize("channels_first", [True, False])
def test_a_network_is_given_what_ultraface_takes(stand_in, noise, channels_first):
    outputs = [np.array([BOXES], dtype=np.float32), np.array([[[1 - s, s] for s in SCORES]], dtype=np.float32)]
    detector, taken = stand_in(outputs, channels_first)
    image = noise(40, 50)
    assert detector.find(image) == pytest.approx(BOXES[0])
    expected = (np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR), dtype=np.float32) - 127) / 128
    (given,) = taken
    assert given.dtype == np.float32
    assert np.array_equal(given, expected.transpose(2, 0, 1)[None] if channels_first else expected[None])


@pytest.mark.parametrize(
    "shapes", [[(1, 4, 2)], [(1, 4, 2), (1, 5, 4)], [(1, 4, 3), (1, 4, 4)], [(4, 2), (4, 4)], [(2, 4, 2), (2, 4, 4)]]
)
def test_outputs_of_another_form_are_refused_by_their_shapes(stand_in, noise, shapes):
    detector, _ = stand_in([np.zeros(shape) for shape in shapes])
    with pytest.raises(UserError, match="its outputs have the shapes") as refused:
        detector.find(noise(10, 10))
    assert ", ".join(map(str, shapes)) in str(refused.value) and "docs/augmentation.md" in refused.value.fix


def test_the_library_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "face.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="onnxruntime is not installed") as refused:
        FaceDetector.of(FaceSettings(detector=str(tmp_path / "face.onnx")))
    assert refused.value.fix == 'pip install "lorakiln[faces]"'
    with pytest.raises(UserError, match="no such file"):
        FaceDetector.of(FaceSettings(detector=str(tmp_path / "other.onnx")))
    assert FaceDetector.of(FaceSettings()) is None


PLACEMENT = Placement((64, 64), (85, 64), (10, 0, 74, 64), 1 / 14)  # of 1200 x 900 pixels, less its rounding


@pytest.mark.parametrize(
    ("face", "size"),
    [
        (None, (106, 80)),
        ((0.2, 0.2, 0.6, 0.7), (106, 80)),  # a face of 34 pixels: the margin is enough
        ((0.4, 0.4, 0.5, 0.6), (213, 160)),  # of 12.8: 64 / (2 x 12.8) = 2.5 times
        ((0.50, 0.50, 0.51, 0.52), (340, 256)),  # of 1.28: no more than 4 times
    ],
)
def test_the_closest_crop_has_pixels_enough(face, size):
    assert choose_uncropped_size((1200, 900), PLACEMENT, 0.25, face, 2.0) == size


def test_a_face_has_at_least_a_pixel():
    assert place_face((0.25, 0.5, 0.75, 1.0), (40, 20)) == (10, 10, 30, 20)
    assert place_face((0.999, 0.0, 1.0, 0.001), (40, 20)) == (39, 0, 40, 1)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"face": {"detector": "face.onnx"}}, "prepare.margin=0.25"),
        ({"margin": 0.1, "face": {"closest": 5.0}}, "closest 5 must not be above widest 4"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, problem):
    bucket = {"min": 32, "max": 128, "step": 16}
    with pytest.raises(ConfigError, match=problem):
        check(PrepareSettings, {"dataset": "raw", "resolution": 64, "bucket": bucket, **given}, "prepare")


@pytest.fixture
def write_detector(tmp_path):
    """Writes an ONNX file that finds BOXES in a red picture and nothing in one without red."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def write(shape=(1, 3, 24, 32), boxes=BOXES):
        # The mean of the reds, which is -1 to 1, times each box's score.
        weights = np.zeros((shape[1], 2 * len(SCORES)), dtype=np.float32)
        weights[0, 1::2] = SCORES
        constants = {"weights": weights, "boxes_are": np.array([boxes], dtype=np.float32)}
        constants |= {"shape": np.array([1, len(SCORES), 2]), "least": np.float32(0), "most": np.float32(1)}
        nodes = [
            helper.make_node("GlobalAveragePool", ["pictures"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["means"]),
            helper.make_node("MatMul", ["means", "weights"], ["raw"]),
            helper.make_node("Reshape", ["raw", "shape"], ["by_box"]),
            helper.make_node("Clip", ["by_box", "least", "most"], ["scores"]),
            helper.make_node("Identity", ["boxes_are"], ["boxes"]),
        ]
        graph = helper.make_graph(
            nodes,
            "faces",
            [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("scores", "boxes")],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / "face.onnx"
        onnx.save(model, path)
        return str(path)

    return write


def test_prepare_finds_the_face_and_keeps_room_around_it(tmp_path, settings, write_detector, contents, capfd):
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.new("RGB", (1200, 900), (255, 40, 40)).save(raw / "red.png")
    Image.new("RGB", (1200, 900), (0, 90, 200)).save(raw / "blue.png")
    small = [[0.375, 0.375, 0.5, 0.625]] * len(SCORES)  # of 16 pixels in 85 x 64: 64 / (2 x 16) = 2 times as large
    face = {"detector": write_detector(boxes=small)}
    prepare(raw, tmp_path / "out", settings(margin=0.25, face=face))
    rows = {row["file_name"]: row["uncropped"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert (rows["red.png"]["width"], rows["red.png"]["height"]) == (170, 128)
    assert rows["red.png"]["face"] == [63, 48, 85, 80] and "face" not in rows["blue.png"]
    assert (rows["blue.png"]["width"], rows["blue.png"]["height"]) == (106, 80)
    told = capfd.readouterr()
    assert "faces found in 1 of 2 pictures" in told.out
    assert "no face was found in these; their crops are drawn anywhere (1):\n  blue.png" in told.err
    # The same detector finds the same; another makes the pictures anew.
    prepare(raw, tmp_path / "out", settings(margin=0.25, face=face))
    assert "2 pictures (2 reused)" in capfd.readouterr().out
    write_detector(boxes=BOXES)
    prepare(raw, tmp_path / "out", settings(margin=0.25, face=face))
    assert "2 pictures (0 reused)" in capfd.readouterr().out
    prepare(raw, tmp_path / "plain", settings())
    assert contents(tmp_path / "plain")["red.png"] == contents(tmp_path / "out")["red.png"]


def test_files_of_another_form_are_refused(tmp_path, write_detector):
    with pytest.raises(UserError, match=r"its input has the shape \(1, 4, 24, 32\)"):
        FaceDetector.of(FaceSettings(detector=write_detector((1, 4, 24, 32))))
    with pytest.raises(UserError, match=r"its input has the shape \(1, 3, 'height', 32\)"):
        FaceDetector.of(FaceSettings(detector=write_detector((1, 3, "height", 32))))
    (tmp_path / "face.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="it cannot be read"):
        FaceDetector.of(FaceSettings(detector=str(tmp_path / "face.onnx")))
