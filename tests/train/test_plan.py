"""What the plan tells of a picture's variants, and of datasets with batches of their own."""

import shutil

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.plan import describe_own_batches, describe_variants
from lorakiln.train.validation_split import ValidationSplit


def test_drawn_variants_are_told_with_their_cost(micro_encoded, tmp_path):
    assert describe_variants(EncodedDataset.read(micro_encoded)) == "plain, flip"
    folder = tmp_path / "encoded"
    shutil.copytree(micro_encoded, folder)
    index = read_json(folder / "index.json")
    augment = {"variants": 1, "crop": "random", "hue": 16.0}
    index["settings"]["encode"] |= {"flip": False, "augment": augment}
    index["variants"] = ["plain", "augment1"]
    write_json(folder / "index.json", index)
    encoded = EncodedDataset.read(folder)
    # Four pictures of 8 x 8 cells and two of 12 x 8, of four channels, twice, in two variants of four bytes each.
    assert describe_variants(encoded) == (
        f"2 of each picture, in turn: plain, augment1, drawn with crop random, hue 16; their latents take "
        f"{(4 * 64 + 2 * 96) * 4 * 2 * 2 * 4 / 1e6:.3g} MB"
    )


def test_batches_of_a_datasets_own_are_told():
    split = ValidationSplit([[0, 0, 1], [0, 1]], [[], []], [[2, 2, None], [None, 3]])
    (line,) = describe_own_batches(split)
    assert line.strip() == "by their datasets, of an epoch's pictures: 2 in batches of 2, 1 in batches of 3"
    assert describe_own_batches(ValidationSplit([[0]], [[]])) == []
