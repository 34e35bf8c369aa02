"""What datasets and trainings of the second door are known by: another input makes another key."""

import copy

import pytest

from lorakiln import runs
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config


def compose(*overrides):
    return check_whole(compose_config(["+experiment=smoke", *overrides]))


@pytest.fixture
def keys(tmp_path):
    """Computes the keys of the dataset in `raw` and of a training with it."""
    (tmp_path / "raw").mkdir()

    def call(config, data="data"):
        return runs.compute_data_key(config, tmp_path / "raw"), runs.compute_training_key(config, tmp_path / data)

    return call


def other(before, now):
    return tuple(one != another for one, another in zip(before, now, strict=True))


@pytest.mark.parametrize(
    ("setting", "file", "beside", "expected"),
    [
        ("train.samples.file", "prompts.txt", "train.samples.prompts=[]", (False, True)),
        ("train.adapter.init_from", "begun.safetensors", "train.samples.every=0", (False, True)),
        ("prepare.face.detector", "faces.onnx", "prepare.margin=0.25", (True, False)),
        ("prepare.upscale.network", "larger.onnx", "prepare.upscale.above=2", (True, False)),
        ("prepare.segment.network", "masks.onnx", "prepare.masks=auto", (True, False)),
    ],
)
def test_the_content_of_a_file_that_is_read_counts(keys, tmp_path, setting, file, beside, expected):
    path = tmp_path / file
    path.write_text("a")
    config = compose(f"{setting}={path}", beside)
    before = keys(config)
    assert keys(config) == before
    path.write_text("b")
    assert other(before, keys(config)) == expected


@pytest.mark.parametrize("follow", [False, True])
def test_what_links_lead_to_counts_where_they_are_followed(keys, tmp_path, follow):
    config = compose(f"prepare.follow_symlinks={follow}")
    (tmp_path / "outside.png").write_bytes(b"a")
    (tmp_path / "raw" / "link.png").symlink_to(tmp_path / "outside.png")
    before = keys(config)
    (tmp_path / "outside.png").write_bytes(b"b")
    assert other(before, keys(config)) == (follow, False)


def test_another_base_dataset_or_precision_is_another_training(keys, monkeypatch):
    config = compose()
    before = keys(config)
    assert other(before, keys(config, "another")) == (False, True)
    with monkeypatch.context() as patched:
        # What "auto" comes to on another machine.
        patched.setattr(runs, "choose_precision", lambda asked, device: "bf16")
        assert other(before, keys(config)) == (False, True)
    load = runs.load_family

    def load_another(model, parts):
        """A base whose files are others, in the same place."""
        family = copy.copy(load(model, parts))
        family.facts = {**family.facts, "hash": "another"}
        return family

    monkeypatch.setattr(runs, "load_family", load_another)
    assert other(before, keys(config)) == (True, True)
