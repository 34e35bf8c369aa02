"""What the plan tells: of a picture's variants, of batches of a dataset's own, of trigger words in pieces."""

import shutil

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.plan import describe_own_batches, describe_variants, warn_of_pieces
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


def test_trigger_words_in_pieces_are_told_unless_they_are_read_whole():
    broken = {"kilnling": ["kil", "nl", "ing"], "qzx": ["q", "z", "x"]}
    (sentence,) = warn_of_pieces(broken, [])
    assert "3 pieces or more: kilnling = kil + nl + ing; qzx = q + z + x (a shorter word" in sentence
    (sentence,) = warn_of_pieces(broken, ["Kilnling"])
    assert "more: qzx = q + z + x (a" in sentence
    assert warn_of_pieces(broken, ["qzx", "kilnling"]) == warn_of_pieces({}, []) == []
