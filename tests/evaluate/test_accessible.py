"""The report for those who hear it, or have no mouse: what a browser tells a screen reader of the page."""

import re
from pathlib import Path

import pytest

import lorakiln.evaluate
from tests.review.browser import find_chromium, open_browser

CHROMIUM = find_chromium()
STYLE = Path(lorakiln.evaluate.__file__).parent / "templates/report.css"
WIDTHS = {"wide": 1280, "narrow": 420}  # pixels
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class Tree:
    """The nodes of a page that a screen reader meets, in its order."""

    def __init__(self, page):
        told = page.send("Accessibility.getFullAXTree")["nodes"]
        self.nodes = {node["nodeId"]: node for node in told}
        self.all = [node for node in self._below(told[0]) if not node.get("ignored")]

    def _below(self, node):
        yield node
        for name in node.get("childIds", []):
            if name in self.nodes:
                yield from self._below(self.nodes[name])

    def of(self, role, inside=None):
        """The names of all of a role."""
        return [name_of(node) for node in self.find(role, inside)]

    def find(self, role, inside=None):
        nodes = self.all if inside is None else [one for one in self._below(inside) if not one.get("ignored")]
        return [node for node in nodes if node["role"]["value"] == role]

    def levels(self):
        """Of the headings, in order."""
        return [
            next(one["value"]["value"] for one in node["properties"] if one["name"] == "level")
            for node in self.find("heading")
        ]


def name_of(node):
    return node.get("name", {}).get("value", "")


@pytest.fixture(scope="module", params=WIDTHS.values(), ids=list(WIDTHS))
def page(request, tmp_path_factory, reported):
    with open_browser(CHROMIUM, tmp_path_factory.mktemp("browser")) as page:
        size = {"width": request.param, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        page.send("Emulation.setDeviceMetricsOverride", **size)
        page.send("Page.navigate", url=(reported / "report.html").as_uri())
        page.wait("document.readyState == 'complete' && !!document.querySelector('main')")
        yield page


@pytest.fixture
def tree(page):
    return Tree(page)


@needs_browser
def test_headings_leave_no_level_out_and_stand_over_every_part(tree, page):
    levels = tree.levels()
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert page.run("[...document.querySelectorAll('section')].every(one => one.querySelector('h2'))")
    assert len(tree.find("main")) == 1 and tree.of("navigation") == ["sections"]


@needs_browser
def test_every_table_has_a_name_and_heads_for_its_rows_and_columns(tree):
    tables = tree.find("table")
    assert len(tables) >= 5 and len({name_of(one) for one in tables} - {""}) == len(tables)
    for one in tables:
        rows, columns = tree.of("rowheader", one), tree.of("columnheader", one)
        assert rows and columns and all(rows + columns), name_of(one)
    # Numbers are told with their columns' names once, not twice, however narrow the page is.
    numbers = tree.of("columnheader", tables[0])
    assert numbers == ["measure", "base", "LoRA at 1.00", "difference"]
    assert not [cell for cell in tree.of("cell", tables[0]) if cell.startswith(("base ", "LoRA ", "difference "))]


@needs_browser
def test_no_two_pictures_of_a_table_are_called_the_same(tree):
    for one in tree.find("table"):
        names = tree.of("image", one)
        assert all(names) and len(set(names)) == len(names), name_of(one)
    found = tree.of("image")
    assert "base, seed 7: sks, a red cat" in found and "LoRA at 0.50, seed 0: sks, a red cat" in found
    assert "LoRA at 1.00, seed 7: a red cat" in found  # without the trigger words
    assert "step 10: sks, a red cat" in found


@needs_browser
def test_charts_say_what_their_lines_do(tree):
    found = tree.of("image")
    assert "Validation loss; step 0 to 20: held-out pictures 0.6 to 0.5" in found
    assert "Training loss; step 10 to 20: as read 0.5 to 0.4, smoothed 0.5 to 0.4" in found
    assert [name for name in found if re.match(r"CLIP score \(text\); LoRA weight 0 to 1: .* to ", name)]


@needs_browser
def test_the_keyboard_reaches_every_link_and_what_scrolls_in_the_page_s_order(page):
    stops = "a[href], summary, [tabindex='0']"
    wanted = page.run(f'[...document.querySelectorAll("{stops}")].map((one, n) => (one.dataset.stop = n, n))')
    assert len(wanted) > 8
    assert page.run(
        "[...document.querySelectorAll('.scroll')].every(one => one.tabIndex == 0 && one.getAttribute('aria-label'))"
    )
    page.run("document.body.focus()")
    reached = []
    while len(reached) < len(wanted):
        page.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        page.send("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        if (stop := page.run("document.activeElement.dataset.stop")) is not None:
            reached.append(int(stop))
            assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == wanted


def luminance(colour):
    """Relative luminance, 0 to 1, as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_what_they_stand_on():
    """WCAG 2's 4.5 to 1 for text, by light and by dark."""
    assert luminance("#ffffff") == pytest.approx(1) and luminance("#000000") == 0
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
    )
    pairs = [(word, "paper") for word in ("ink", "soft", "accent", "good", "bad", "unknown")]
    pairs += [(word, "card") for word, _ in pairs] + [("soft", "well"), ("ink", "well")]
    pairs += [(tone, f"{tone}-well") for tone in ("good", "bad", "mixed", "unknown")]
    for colours in (light, dark):
        for word, ground in pairs:
            high, low = sorted((luminance(colours[word]), luminance(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (word, ground)


CSS = STYLE.read_text("utf-8")
