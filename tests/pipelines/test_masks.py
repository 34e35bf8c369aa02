"""Masks through both doors, from files and alpha channels to what a training is told of them."""

import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OVERRIDES = ("caption=none", "train.objective.unmasked_weight=0.0", "train.steps=2", "train.save_every=0")


@pytest.fixture
def masked(own_project):
    """Eight of the demo's pictures, five with masks: of four files the left quarter, of an alpha channel the right."""
    demo, raw = own_project.folder / "data/raw/demo_style", own_project.folder / "data/raw/masked"
    (raw / "masks").mkdir(parents=True)
    for path in sorted(demo.glob("*.png"))[:8]:
        shutil.copy(path, raw)
    names = sorted(path.stem for path in raw.glob("*.png"))
    for number, name in enumerate(names[:5]):
        with Image.open(raw / f"{name}.png") as opened:
            picture = opened.convert("RGB")
        mask = Image.new("L", picture.size)
        quarter = picture.width // 4
        mask.paste(255, (0, 0, quarter, picture.height) if number < 4 else (3 * quarter, 0, *picture.size))
        if number < 4:
            mask.save(raw / f"masks/{name}.png")
        else:
            picture.putalpha(mask)
            picture.save(raw / f"{name}.png")
    return own_project, names


def test_both_doors_train_on_what_masks_leave(masked):
    project, names = masked
    project.edit("params.yaml", 'dataset: ""', "dataset: masked")
    project.edit("params.yaml", "overrides: []", f"overrides: [{', '.join(map(repr, OVERRIDES))}]")
    told = project.run("dvc", "repro", "train")
    assert "prepare: masks for 5 of 8 pictures (4 of files, 1 of alpha channels); of these 23% is to be learned" in told
    (plan,) = [line for line in told.splitlines() if line.startswith("  masks ")]
    assert "of them is learned; outside weighs 0" in plan
    outputs = project.folder / "outputs"
    assert (outputs / "run/adapters").is_dir()
    found = read_masks(outputs / "encoded")
    for number, name in enumerate(names):
        mask = found[name]
        if number >= 5:
            assert np.all(mask == 1)
            continue
        # Crops cut some of the quarter away on three of them, and nowhere more than half.
        assert np.all(mask[:, 0] == (number < 4)) and np.all(mask[:, -1] == (number == 4))
        shades = np.asarray(Image.open(outputs / f"captioned/.masks/{name}.png"), dtype=float) / 255
        (height, width), (rows, columns) = shades.shape, mask.shape
        means = shades.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))
        assert np.abs(mask - means).max() < 5e-4, name
    # The second door comes to the same.
    told = project.run("python", "-m", "pipelines.plan", "+experiment=smoke", "prepare.dataset=masked", *OVERRIDES)
    assert plan in told.splitlines()
    (dataset,) = (project.folder / "cache/datasets").iterdir()
    again = read_masks(dataset / "encoded")
    assert all(np.array_equal(again[name], found[name]) for name in names)


def read_masks(encoded):
    """The plain picture's, by its name without an ending."""
    from lorakiln.rows import Index

    found = {}
    for bucket in Index.read(encoded / "index.json").buckets:
        masks = load_file(encoded / bucket.file)["loss_mask"].float().numpy()
        found |= {row.file_name.removesuffix(".png"): masks[number, 0] for number, row in enumerate(bucket.rows)}
    return found
