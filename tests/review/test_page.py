"""The review in a real browser: what one sees, drags and types is what stands in the hand edits."""

import shutil
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

from lorakiln.prepare import prepare
from lorakiln.review.collection import open_collection
from lorakiln.review.server import Review
from lorakiln.review.thumbnails import Thumbnails
from lorakiln.serving.local import listen, make_server
from lorakiln.sources.folder.edits import read_edit
from tests.review.browser import CONTROL, SHIFT, find_chromium, open_browser

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
NAMES = "[...document.querySelectorAll('.card')].sort((a, b) => a.dataset.place - b.dataset.place)"
CARDS = NAMES + ".map((card) => card.dataset.name)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with open_browser(CHROMIUM, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def batch():
    """Of the training; nothing is known of it, unless a test says so."""
    return None


@pytest.fixture
def page(chromium, raw, rules, tmp_path, batch):
    """The review of the dataset `raw`, open in the browser; in the end no script has failed."""
    review = Review(
        open_collection(raw, replace(rules, batch=batch)), Thumbnails(raw, tmp_path / "kept", rules.prepare)
    )
    with listen(0) as listening:
        server, address = make_server(review, listening)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            chromium.errors.clear()
            chromium.open(address)
            yield chromium
            chromium.run("1")
            # What cannot be shown is asked for, and refused.
            assert [one for one in chromium.errors if "broken.png" not in one] == []
            chromium.send("Page.navigate", url="about:blank")
        finally:
            server.should_exit = True
            thread.join()


def wait_for(raw, name, **expected):
    """Until an edit says something: the page does not wait for what it has sent."""
    end = time.monotonic() + 30
    while True:
        edit = read_edit(raw, name)
        told = {key: getattr(edit, key) if edit else None for key in expected}
        if told == expected:
            return
        assert time.monotonic() < end, f"{name} says {told}, not {expected}"
        time.sleep(0.02)


def chosen(page):
    return page.run("document.getElementById('name').textContent")


def text_of(page, selector):
    return page.run(f"document.querySelector({selector!r}).textContent")


def test_pictures_stand_by_bucket_with_what_is_odd(page):
    assert page.run(CARDS) == ["broken.png", "deep/c.jpg", "a.png", "d e [1].png", "b.png"]
    headings = page.run("[...document.querySelectorAll('#grid h3')].map((one) => one.textContent)")
    assert headings == ["no bucket: 1", "48x80: 1", "64x64: 2", "80x48: 1"]
    page.wait("[...document.querySelectorAll('.card img')].every((one) => one.complete && one.naturalWidth)")
    assert page.run("document.querySelector('[data-name=\"a.png\"] img').naturalWidth") == 128
    page.wait("document.querySelector('[data-name=\"broken.png\"] .frame').textContent === 'cannot be shown'")
    assert "f.png.edit.yaml" in text_of(page, "#problems")
    tags = page.run("[...document.querySelectorAll('#tags li')].map((one) => one.textContent)")
    assert tags[:3] == ["sks dog3", "red2", "another line1"]


@pytest.fixture
def alike(raw, rules):
    """`prepare` has looked, at one more picture that looks like two others of another bucket."""
    with Image.open(raw / "b.png") as image:
        for name in ("b2.png", "0.png"):
            image.resize((158, 96)).save(raw / name)
    changes = {"workers": 1, "on_bad": "skip", "blurred_above": 1.0}
    prepare(raw, rules.prepared, rules.prepare.model_copy(update=changes))


def test_pictures_that_look_the_same_stand_together(alike, page):
    page.run("document.getElementById('grid').focus()")
    page.press("d")
    page.wait("document.querySelectorAll('.card').length === 3")
    assert page.run(CARDS) == ["0.png", "b.png", "b2.png"]
    headings = page.run("[...document.querySelectorAll('#grid h3')].map((one) => one.textContent)")
    assert headings == ["like 0.png: 3"]
    page.click('[data-name="b.png"]')
    assert "looks like 0.png, b2.png" in text_of(page, "#findings")
    page.press("d")
    page.wait("document.querySelectorAll('.card').length > 3")


@pytest.fixture
def two_sets(raw, rules):
    """`prepare` has looked at a picture that is for training and for regularisation."""
    pictures = {"5_sks dog/a.png": raw / "a.png", "reg/1_dog/r.png": raw / "a.png", "5_sks dog/b.png": raw / "b.png"}
    for name, picture in pictures.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, raw / name)
    for picture in (*raw.glob("*.*"), raw / "deep", raw / "masks"):
        shutil.rmtree(picture) if picture.is_dir() else picture.unlink()
    prepare(raw, rules.prepared, rules.prepare.model_copy(update={"workers": 1, "on_bad": "skip"}))


@pytest.mark.parametrize("batch", [2])
def test_a_picture_in_both_sets_and_a_bucket_that_is_too_small_are_told(two_sets, page, raw):
    page.click('[data-name="5_sks dog/a.png"]')
    told = text_of(page, "#findings")
    assert "the same content as reg/1_dog/r.png" in told and "also for regularisation: reg/1_dog/r.png" in told
    headings = "[...document.querySelectorAll('#grid h3')].map((one) => one.textContent)"
    assert page.run(headings) == ["64x64: 2", "80x48: 1 (1 to train on, fewer than a batch of 2)"]
    page.press("f")
    page.wait("document.getElementById('show').value === 'findings'")
    assert "5_sks dog/b.png" in page.run(CARDS)
    # What is left out makes another bucket too small, and what comes back does not.
    page.click('[data-name="reg/1_dog/r.png"]')
    page.press("x")
    page.wait(f"{headings}[0] === '64x64: 1 (1 to train on, fewer than a batch of 2)'")
    page.press("u")
    page.wait(f"{headings}[0] === '64x64: 2'")


def test_a_caption_is_written_with_the_keys_alone(page, raw):
    page.press("ArrowRight")
    page.press("End")
    page.press("ArrowUp")
    assert chosen(page) == "a.png"
    page.press("e")
    page.run("document.getElementById('caption').select()")
    page.type("sks dog, by hand")
    page.press("Enter", CONTROL)
    wait_for(raw, "a.png", caption="sks dog, by hand")
    page.wait("document.getElementById('origin').textContent === 'from a.png.edit.yaml'")
    # Letters are commands again; in a text they were none.
    page.press("e")
    page.type("xu/")
    page.press("Escape")
    assert page.run("document.getElementById('caption').value") == "sks dog, by hand"
    page.press("u")
    page.wait("document.getElementById('origin').textContent === 'from a.txt'")
    assert not (raw / "a.png.edit.yaml").exists()
    page.press("z", CONTROL | SHIFT)
    wait_for(raw, "a.png", caption="sks dog, by hand")


def test_a_crop_is_dragged_moved_and_taken_away(page, raw):
    page.click('[data-name="b.png"]')
    page.wait("document.getElementById('picture').naturalWidth === 160")
    left, top, width, height = page.locate("#stage")
    scale = width / 160

    def place(x, y):
        return left + x * scale, top + y * scale

    page.drag(place(40, 10), place(120, 90))
    wait_for(raw, "b.png", box=(40, 10, 120, 90))
    page.wait("document.getElementById('facts').textContent.includes('64x64')")
    # Its inside moves it, and not beyond the picture; a corner changes its size.
    page.drag(place(80, 50), place(300, 50))
    wait_for(raw, "b.png", box=(80, 10, 160, 90))
    page.wait("document.getElementById('facts').textContent.includes('crop 80, 10, 160, 90')")
    page.drag(place(82, 12), place(62, 2))
    wait_for(raw, "b.png", box=(62, 2, 160, 90))
    page.wait("document.getElementById('facts').textContent.includes('crop 62, 2, 160, 90')")
    page.click("#uncrop")
    page.wait("document.getElementById('box').hidden && document.getElementById('uncrop').disabled")
    assert not (raw / "b.png.edit.yaml").exists()
    # The same with the keys.
    page.run("document.getElementById('grid').focus()")
    page.press("c")
    for _ in range(4):
        page.press("ArrowLeft", SHIFT)
    page.press("ArrowRight")
    page.press("Enter")
    wait_for(raw, "b.png", box=(8, 0, 136, 96))
    page.wait("document.getElementById('facts').textContent.includes('crop 8, 0, 136, 96')")
    page.press("c")
    page.press("ArrowRight")
    page.press("Escape")
    page.press("c")
    page.press("Delete")
    page.wait("document.getElementById('uncrop').disabled")
    assert not (raw / "b.png.edit.yaml").exists()


def test_pictures_are_left_out_and_restored(page, raw):
    page.click('[data-name="a.png"]')
    page.press("x")
    wait_for(raw, "a.png", excluded=True)
    # The next one is chosen, so that one can go on.
    page.wait("document.getElementById('name').textContent === 'd e [1].png'")
    assert page.run(CARDS) == ["broken.png", "deep/c.jpg", "d e [1].png", "b.png"]
    page.press("o")
    assert page.run(CARDS) == ["a.png", "e.png"]
    page.press("End")
    page.press("x")
    page.wait(f"String({CARDS}) === 'a.png'")
    assert not (raw / "e.png.edit.yaml").exists()
    page.press("u")
    wait_for(raw, "e.png", excluded=True)


def test_tags_of_the_marked_and_of_what_is_filtered(page, raw):
    page.press("/")
    page.type("RED")
    page.wait(f"String({CARDS}) === 'deep/c.jpg,a.png'")
    page.press("Enter")
    page.press("t")
    page.type("photo")
    page.click('[data-change="front"]')
    wait_for(raw, "a.png", caption="photo, sks dog, red, outdoors")
    wait_for(raw, "deep/c.jpg", caption="photo, sks dog, red, another line")
    page.run("document.getElementById('grid').focus()")
    page.press("End")
    page.press(" ")
    page.wait("document.querySelectorAll('.card.marked').length === 1")
    page.run("document.getElementById('tag').value = 'red'; document.getElementById('new').value = 'crimson'")
    page.click('[data-change="replace"]')
    wait_for(raw, "a.png", caption="photo, sks dog, crimson, outdoors")
    assert read_edit(raw, "deep/c.jpg").caption == "photo, sks dog, red, another line"
    # A tag of the list filters by it, and is put where bulk changes take it from.
    page.run("document.getElementById('filter').value = ''")
    page.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
    page.run("[...document.querySelectorAll('#tags button')].find((one) => one.innerText.includes('blue')).click()")
    assert page.run(CARDS) == ["b.png"] and page.run("document.getElementById('tag').value") == "blue"


def test_masks_and_findings_are_shown(page):
    page.click('[data-name="a.png"]')
    page.press("m")
    page.wait("document.getElementById('mask').naturalWidth === 128")
    assert not page.run("document.getElementById('mask').hidden")
    page.press("f")
    assert page.run(CARDS) == ["broken.png", "d e [1].png"]
    page.press("End")
    assert text_of(page, "#findings") == "no caption"
    page.press("?")
    assert page.run("document.getElementById('keys').open") and "left out" in text_of(page, "#keys")
    page.press("Escape")


def test_a_change_that_is_refused_is_told_and_shown(page, raw):
    page.click('[data-name="a.png"]')
    (raw / "a.png.edit.yaml").write_text("caption: from an editor\n")
    page.press("x")
    page.wait("document.getElementById('message').classList.contains('bad')")
    assert "changed by somebody else" in text_of(page, "#message")
    assert page.run("document.getElementById('caption').value") == "from an editor"
    assert read_edit(raw, "a.png").excluded is False
    page.errors.clear()  # the browser notes every answer that refuses


def test_what_is_written_in_a_caption_or_a_name_is_text(chromium, raw, rules, tmp_path):
    """Nothing of it becomes a part of the page."""
    harmful = "<img src=x onerror=document.body.dataset.harm=1>"
    (raw / "a.png").rename(raw / "a<b onclick=x>&amp;.png")
    (raw / "b.txt").write_text(harmful)
    review = Review(open_collection(raw, rules), Thumbnails(raw, tmp_path / "kept", rules.prepare))
    with listen(0) as listening:
        server, address = make_server(review, listening)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            chromium.open(address)
            chromium.click('[data-name="b.png"]')
            assert text_of(chromium, '[data-name="b.png"] p') == harmful
            assert chromium.run("document.body.dataset.harm") is None
            assert "a<b onclick=x>&amp;.png" in chromium.run(CARDS)
        finally:
            server.should_exit = True
            thread.join()
