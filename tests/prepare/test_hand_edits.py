"""A crop by hand is the picture that one gets by cropping the file oneself; what is excluded is not there."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare

BOX = (30, 10, 190, 130)


def write_edit(picture, text):
    picture.with_name(picture.name + ".edit.yaml").write_text(text)


def rows_of(folder):
    return {row["file_name"]: row for row in read_jsonl(folder / "metadata.jsonl")}


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mask", ["none", "file", "smaller file", "alpha"])
def test_a_crop_by_hand_is_that_of_the_file(tmp_path, settings, noise, mask, orientation):
    """Reference: Pillow's crop of the upright picture and of its mask, prepared as any picture."""
    raw, own, size = tmp_path / "raw", tmp_path / "own", (200, 160)
    shades = noise(*size, seed=1).convert("L")
    picture = noise(*size)
    if mask == "alpha":
        picture.putalpha(shades)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for folder in (raw, own):
        (folder / "masks").mkdir(parents=True)
    stored = picture.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture
    stored.save(raw / "a.png", exif=exif)
    picture.crop(BOX).save(own / "a.png")
    write_edit(raw / "a.png", f"crop: {list(BOX)}\n")
    if "file" in mask:
        marks = shades.resize((100, 80)) if "smaller" in mask else shades
        marks.save(raw / "masks/a.png")
        marks.resize(size, Image.Resampling.BOX).crop(BOX).save(own / "masks/a.png")
    for folder in (raw, own):
        prepare(folder, folder.with_name(f"{folder.name}_out"), settings(margin=0.25))
    made, row = tmp_path / "raw_out", rows_of(tmp_path / "raw_out")["a.png"]
    expected = rows_of(tmp_path / "own_out")["a.png"]
    files = sorted(path.relative_to(made) for path in made.rglob("*.png"))
    assert len(files) == (2 if mask == "none" else 4)
    for file in files:
        assert (made / file).read_bytes() == (tmp_path / "own_out" / file).read_bytes(), file
    assert row.pop("hand_crop") == list(BOX)
    differing = {"sha256", "key", "twin", "notes"}
    assert {key for key in row if row[key] != expected[key]} <= differing
    assert row["source_width"] == BOX[2] - BOX[0] and row["source_height"] == BOX[3] - BOX[1]


def test_a_jpeg_is_cropped_between_its_own_pixels(tmp_path, settings, photo):
    """Without a crop it is decoded at a fraction of its size; the box counts the pixels of the whole."""
    raw = tmp_path / "raw"
    raw.mkdir()
    photo(1600, 1200).save(raw / "a.jpg", quality=95)
    box = (801, 203, 1123, 525)
    write_edit(raw / "a.jpg", f"crop: {list(box)}")
    prepare(raw, tmp_path / "out", settings())
    with Image.open(raw / "a.jpg") as image:
        expected = image.convert("RGB").crop(box).resize((64, 64), Image.Resampling.LANCZOS, reducing_gap=3.0)
    made = np.asarray(Image.open(tmp_path / "out/a.png")).astype(int)
    assert np.abs(made - np.asarray(expected).astype(int)).max() <= 1


def test_one_changed_edit_makes_one_picture_anew(tmp_path, settings, noise, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for number in range(5):
        noise(96, 96, number).save(raw / f"{number}.png")
    write_edit(raw / "0.png", "crop: [0, 0, 64, 64]")
    write_edit(raw / "1.png", "caption: a cat")
    write_edit(raw / "4.png", "excluded: true")
    prepare(raw, out, settings())
    told = capsys.readouterr().out
    assert "4 pictures (0 reused)" in told
    assert "hand edits: 1 caption, 1 crop, 1 picture left out" in told
    first, identity = rows_of(out), read_json(out / "dataset.json")["hash"]
    assert "4.png" not in first
    # A caption is no matter of pixels.
    write_edit(raw / "1.png", "caption: a dog")
    prepare(raw, out, settings())
    assert "4 pictures (4 reused)" in capsys.readouterr().out
    assert rows_of(out) == first and read_json(out / "dataset.json")["hash"] == identity
    write_edit(raw / "0.png", "crop: [16, 16, 80, 80]")
    prepare(raw, out, settings())
    assert "4 pictures (3 reused)" in capsys.readouterr().out
    second = rows_of(out)
    assert [name for name in first if first[name] != second[name]] == ["0.png"]
    assert read_json(out / "dataset.json")["hash"] != identity
    # Back to the file itself: equal content, which only the crop had told apart.
    (raw / "0.png.edit.yaml").unlink()
    prepare(raw, out, settings())
    assert "hand_crop" not in rows_of(out)["0.png"]


def test_all_that_is_wrong_with_edits_is_told_in_one_list(tmp_path, settings, noise, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name in ("fine", "outside", "unknown", "thin"):
        noise(96, 64).save(raw / f"{name}.png")
    write_edit(raw / "outside.png", "crop: [0, 0, 97, 64]")
    write_edit(raw / "unknown.png", "captions: a cat")
    write_edit(raw / "thin.png", "crop: [0, 0, 4, 64]")
    write_edit(raw / "gone.png", "caption: of nothing")
    with pytest.raises(UserError) as error:
        prepare(raw, out, settings())
    text = str(error.value)
    assert "[0, 0, 97, 64] in a picture of 96x64 pixels" in text
    assert "unknown.png.edit.yaml: captions: unknown setting; did you mean caption?" in text
    assert "4x64, the limit is 8 pixels" in text
    assert "fine.png" not in text and not out.exists()
    prepare(raw, out, settings(on_bad="skip"))
    assert list(rows_of(out)) == ["fine.png"]
    assert "gone.png.edit.yaml" in capsys.readouterr().err


def test_a_dataset_that_is_all_left_out_is_told_so(tmp_path, settings, noise):
    noise(64, 64).save(tmp_path / "a.png")
    write_edit(tmp_path / "a.png", "excluded: true")
    with pytest.raises(UserError, match=r"all pictures here are left out by hand \(1\)"):
        prepare(tmp_path, tmp_path.with_name("out"), settings())
