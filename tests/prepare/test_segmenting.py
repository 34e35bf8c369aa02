"""Masks by a user's network, of the pictures that have no other."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.prepare.segmenting import Segmenter
from lorakiln.schema.prepare import SegmentSettings


@pytest.fixture
def write_segmenter(tmp_path):
    """Writes an ONNX file whose mask is a picture's red channel as it is given, times `gain`."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def write(shape=(1, 3, 32, 32), gain=1.0, channels=1):
        weights = np.zeros((channels, shape[1], 1, 1), dtype=np.float32)
        weights[:, 0] = gain
        graph = helper.make_graph(
            [helper.make_node("Conv", ["pictures", "weights"], ["mask"])],
            "mask",
            [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("mask", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(weights, "weights")],
        )
        path = tmp_path / "mask.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return {"network": str(path), "mean": [0.0] * 3, "std": [1.0] * 3}

    return write


def halves(size, left=(255, 10, 20), right=(0, 200, 100)):
    image = Image.new("RGB", size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def test_the_subject_is_what_the_network_says(write_segmenter):
    found = Segmenter.of(SegmentSettings(**write_segmenter())).find(halves((64, 32)))
    shades = np.asarray(found)
    assert found.mode == "L" and found.size == (64, 32)
    assert (shades[:, :28] == 255).all() and (shades[:, 36:] == 0).all()


def test_the_network_is_given_what_rembg_gives(write_segmenter, noise, monkeypatch):
    settings = SegmentSettings(**{**write_segmenter(), "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.5, 1.0]})
    found, given = Segmenter.of(settings.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})), []
    answer = np.zeros((1, 1, 8, 8), dtype=np.float32)
    monkeypatch.setattr(type(found.file), "run", lambda self, values: (given.append(values), [answer])[1])
    image = noise(40, 50)
    Segmenter.of(settings).find(image)
    shades = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)) / 255
    expected = (shades - [0.5, 0.4, 0.3]) / [0.25, 0.5, 1.0]
    assert given[-1].dtype == np.float32 and np.allclose(given[-1], expected.transpose(2, 0, 1)[None], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"shape": (1, 3, "height", 32)}, r"its input has the shape \(1, 3, 'height', 32\)"),
        ({"shape": (1, 1, 32, 32)}, r"its input has the shape \(1, 1, 32, 32\)"),
        ({"channels": 2}, r"its first output has the shape \(1, 2, 32, 32\)"),
    ],
)
def test_a_file_of_another_form_is_refused(write_segmenter, given, problem):
    with pytest.raises(UserError, match=problem) as refused:
        Segmenter.of(SegmentSettings(**write_segmenter(**given)))
    assert refused.value.where.startswith("prepare.segment.network=") and "rembg" in refused.value.fix


def test_what_is_no_share_is_refused(write_segmenter):
    found = Segmenter.of(SegmentSettings(**write_segmenter(gain=9.0)))
    with pytest.raises(UserError, match="its output goes from 0 to 9: end it with a sigmoid"):
        found.find(halves((64, 32)))


@pytest.mark.parametrize(("masks", "sources"), [("auto", "file alpha network"), ("none", "- - -")])
def test_prepare_makes_masks_for_pictures_without_any(tmp_path, settings, write_segmenter, capsys, masks, sources):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name in "abc":
        halves((64, 64)).save(raw / f"{name}.png")
    Image.new("L", (64, 64), 255).save(raw / "a-masklabel.png")
    clear = halves((64, 64)).convert("RGBA")
    clear.putalpha(100)
    clear.save(raw / "b.png")
    prepare(raw, out, settings(masks=masks, segment=write_segmenter()))
    rows = {row["file_name"]: row.get("mask") for row in read_jsonl(out / "metadata.jsonl")}
    names = {"a-masklabel.png": "file"}
    found = [mask and names.get(mask["source"], mask["source"]) for mask in rows.values()]
    assert " ".join(one or "-" for one in found) == sources
    told = capsys.readouterr().out
    if masks == "auto":
        assert rows["c.png"]["share"] == pytest.approx(0.5, abs=0.01) and "1 of the network" in told
        # It is the same again, and by another name.
        (raw / "c.png").rename(raw / "d.png")
        prepare(raw, out, settings(segment=write_segmenter()))
        assert "(3 reused)" in capsys.readouterr().out
        again = {row["file_name"]: row["mask"] for row in read_jsonl(out / "metadata.jsonl")}
        assert again["d.png"]["source"] == "network" and again["d.png"]["file_name"] == ".masks/d.png"
