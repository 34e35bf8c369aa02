"""Masks are told from pictures by their names."""

import pytest

from lorakiln.sources import open_source
from lorakiln.sources.folder.masks import split_masks


@pytest.mark.parametrize(
    ("names", "pictures", "masks", "lonely"),
    [
        # OneTrainer's, beside the picture; one of no picture is no picture either.
        (
            ["a.jpg", "a-masklabel.png", "b-masklabel.png", "deep/c.webp", "deep/c-masklabel.png"],
            ["a.jpg", "deep/c.webp"],
            {"a.jpg": ("a-masklabel.png",), "deep/c.webp": ("deep/c-masklabel.png",)},
            ["b-masklabel.png"],
        ),
        # A folder beside the pictures, and one with the dataset's folders again.
        (
            ["a.jpg", "deep/b.jpg", "deep/c.jpg", "deep/masks/b.jpg", "masks/a.png", "masks/deep/c.png", "masks/z.png"],
            ["a.jpg", "deep/b.jpg", "deep/c.jpg"],
            {"a.jpg": ("masks/a.png",), "deep/b.jpg": ("deep/masks/b.jpg",), "deep/c.jpg": ("masks/deep/c.png",)},
            ["masks/z.png"],
        ),
        # Somebody's pictures of masks.
        (["a.jpg", "masks/venice.png"], ["a.jpg", "masks/venice.png"], {}, []),
        (["masks/venice.png"], ["masks/venice.png"], {}, []),
        # A picture is no mask of itself, and two masks are both told.
        (
            ["a.jpg", "a-masklabel.png", "masks/a.png"],
            ["a.jpg"],
            {"a.jpg": ("a-masklabel.png", "masks/a.png")},
            [],
        ),
    ],
)
def test_names(names, pictures, masks, lonely):
    assert split_masks(names) == (pictures, masks, lonely)


def test_masks_of_a_kohya_tree_are_those_of_its_subsets(tmp_path):
    for name in ("img/2_sks dog/a.png", "img/2_sks dog/masks/a.png", "model/sample/b.png", "model/sample/masks/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = open_source(tmp_path).scan()
    assert found.pictures == ["img/2_sks dog/a.png"]
    assert found.masks == {"img/2_sks dog/a.png": ("img/2_sks dog/masks/a.png",)}
    # What is told to be left aside is pictures.
    assert found.aside == {"model/sample": 1}
