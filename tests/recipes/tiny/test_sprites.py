"""Drawings: from the packages that the recipe was made with, found however a set writes their names, and cropped."""

import base64
import hashlib
import io
import tarfile

import pytest
from PIL import Image

from recipes.tiny import sprites


def icons(*names, **more):
    return {"width": 32, "icons": {name: {"body": f"<g>{name}</g>"} for name in names}, **more}


@pytest.mark.parametrize("there", ["red-apple", "red-apple-1", "redapple"])
def test_a_drawing_is_found_however_a_set_writes_its_name(there):
    found = sprites.find_svg(icons("pear", there), {"red-apple"})
    assert f"<g>{there}</g>" in found and 'viewBox="0 0 32 16"' in found


def test_an_alias_is_followed_and_another_name_is_not():
    assert sprites.find_svg(icons("apple", aliases={"red-apple": {"parent": "apple"}}), {"red-apple"})
    assert sprites.find_svg(icons("apple"), {"red-apple"}) is None


def test_every_package_has_its_version_and_its_digest():
    learned = {*sprites.STYLE_PACKAGES.values(), *sprites.EXTRA_PACKAGES.values()}
    assert sprites.UNSEEN_PACKAGE not in learned
    packages = {*learned, sprites.UNSEEN_PACKAGE, sprites.NAMES_PACKAGE}
    assert packages == set(sprites.DIGESTS)
    for package in packages:
        assert package.rpartition("@")[2].count(".") == 2, package
        assert len(base64.b64decode(sprites.DIGESTS[package])) == 64, package


def test_a_sprite_is_what_is_drawn_and_no_larger_than_asked():
    image = Image.new("RGBA", (200, 200))
    image.paste((255, 0, 0, 255), (20, 50, 140, 110))
    assert sprites.crop(image, 60).size == (60, 30)
    assert sprites.crop(image, 300).size == (120, 60)  # never enlarged


def test_another_archive_than_the_recipes_is_refused(tmp_path):
    archive, content = tmp_path / "set.tgz", b"{}"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/package.json", "package/img/twitter/32/a.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    with pytest.raises(RuntimeError, match="set.tgz: its SHA-512 is .*, the recipe was made with wrong"):
        sprites.unpack(archive, "wrong")
    assert list(tmp_path.iterdir()) == [archive]
    sprites.unpack(archive, base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode())
    assert (tmp_path / "package" / "package.json").read_bytes() == content
    assert not (tmp_path / "package" / "img").exists() and not archive.exists()
