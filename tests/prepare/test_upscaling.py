"""Small pictures that a user's network enlarges: what it is given, what comes of it, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.prepare.upscaling import Upscaler
from lorakiln.schema.prepare import UpscaleSettings


@pytest.fixture
def write_upscaler(tmp_path):
    """Writes an ONNX file as upscalers are: a convolution to four times the channels, which become pixels."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def write(kernel=None, shape=(1, 3, "height", "width"), gain=1.0, name="larger.onnx", half=False, factor=2):
        """
        Args:
            kernel: (3, 3) by which each channel is filtered; None: the pixel itself.
        """
        element, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
        kernel = np.pad([[1.0]], 1) if kernel is None else np.asarray(kernel)
        weights = np.zeros((3 * factor**2, 3, 3, 3), dtype=dtype)
        for channel in range(3):
            weights[channel * factor**2 : (channel + 1) * factor**2, channel] = kernel * gain
        nodes = [
            helper.make_node("Conv", ["pictures", "weights"], ["channels"], pads=[1, 1, 1, 1]),
            helper.make_node("DepthToSpace", ["channels"], ["larger"], blocksize=factor, mode="CRD"),
        ]
        graph = helper.make_graph(
            nodes,
            "larger",
            [helper.make_tensor_value_info("pictures", element, shape)],
            [helper.make_tensor_value_info("larger", element, None)],
            [numpy_helper.from_array(weights, "weights")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("shape", [(1, 3, "height", "width"), (1, 3, 64, 48), ("batch", 3, None, None)])
@pytest.mark.parametrize("size", [(100, 70), (3, 5), (33, 32)])
@pytest.mark.parametrize("half", [False, True])
def test_a_picture_is_put_together_of_its_squares(write_upscaler, noise, shape, size, half):
    found = Upscaler.of(UpscaleSettings(network=write_upscaler(shape=shape, half=half), tile=64))
    image = noise(*size)
    expected = np.asarray(image).repeat(2, axis=0).repeat(2, axis=1)
    assert found.factor == 2 and np.array_equal(np.asarray(found.enlarge(image)), expected)


def test_there_are_no_seams_between_squares(write_upscaler, noise):
    # A mean of nine pixels looks at the neighbours: inside, squares must agree with the picture at once.
    blur, image = np.full((3, 3), 1 / 9), noise(150, 90)
    small, large = (Upscaler.of(UpscaleSettings(network=write_upscaler(blur), tile=tile)) for tile in (64, 512))
    values = np.pad(np.asarray(image, dtype=np.float64), [(1, 1), (1, 1), (0, 0)], mode="symmetric")
    means = sum(values[y : y + 90, x : x + 150] for y in range(3) for x in range(3)) / 9
    expected = means.repeat(2, axis=0).repeat(2, axis=1)
    for found in (small, large):
        assert np.abs(np.asarray(found.enlarge(image), dtype=np.float64) - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"shape": (1, 3, 16, 16)}, r"its input has the shape \(1, 3, 16, 16\)"),
        ({"shape": (1, 3, 64, "width")}, r"its input has the shape \(1, 3, 64, 'width'\)"),
        ({"gain": 255.0}, "of a picture that is 0.5 everywhere it makes one with the mean 128"),
        ({"factor": 1}, r"of a picture \(1, 3, 64, 64\) it makes \(1, 3, 64, 64\)"),
    ],
)
def test_a_file_of_another_form_is_refused(write_upscaler, given, problem):
    with pytest.raises(UserError, match=problem) as refused:
        Upscaler.of(UpscaleSettings(network=write_upscaler(**given)))
    assert refused.value.where.startswith("prepare.upscale.network=") and "Real-ESRGAN" in refused.value.fix


def test_what_is_no_network_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match="no such file"):
        Upscaler.of(UpscaleSettings(network=str(tmp_path / "gone.onnx")))
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="it cannot be read"):
        Upscaler.of(UpscaleSettings(network=str(tmp_path / "x.onnx")))
    assert Upscaler.of(UpscaleSettings()) is None


def test_prepare_enlarges_small_pictures_by_the_network(tmp_path, settings, write_upscaler, noise, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    noise(40, 40).save(raw / "small.png")
    noise(20, 20).save(raw / "tiny.png")
    noise(128, 128).save(raw / "large.png")
    upscale = {"network": write_upscaler(), "above": 1.5}
    prepare(raw, out, settings(upscale=upscale, margin=0.5))
    told = capsys.readouterr()
    assert "2 pictures enlarged by prepare.upscale.network first" in told.out
    rows = {row["file_name"]: row for row in read_jsonl(out / "metadata.jsonl")}
    assert {name: row.get("scale", 1.0) for name, row in rows.items()} == {
        "small.png": 0.8,
        "tiny.png": 1.6,
        "large.png": 0.5,
    }
    assert rows["small.png"]["notes"] == ["upscaled 2 times by a network"] and not rows["large.png"].get("notes")
    assert (rows["small.png"]["source_width"], rows["small.png"]["source_height"]) == (40, 40)
    # From the network's pixels, which are the picture's own twice, come both the crop and what is kept before it.
    twice = Image.fromarray(np.asarray(noise(40, 40)).repeat(2, axis=0).repeat(2, axis=1))
    with Image.open(out / "small.png") as made:
        expected = twice.resize((64, 64), Image.Resampling.LANCZOS, reducing_gap=3.0)
        assert np.array_equal(np.asarray(made), np.asarray(expected))
    kept = rows["small.png"]["uncropped"]
    assert (kept["width"], kept["height"]) == (80, 80)
    with Image.open(out / ".uncropped/small.png") as made:
        assert np.array_equal(np.asarray(made), np.asarray(twice))
    # Another network makes anew what it has made, and a limit beyond reach leaves Lanczos.
    write_upscaler(np.full((3, 3), 1 / 9))
    prepare(raw, out, settings(upscale=upscale, margin=0.5))
    assert "(0 reused)" in capsys.readouterr().out
    prepare(raw, out, settings(upscale={**upscale, "above": 4.0}))
    assert "enlarged by prepare.upscale.network" not in capsys.readouterr().out
