"""What the plan tells of a picture's variants."""

import shutil

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.plan import describe_variants


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
