"""The blind comparison in a real browser: keys and clicks are what is kept."""

import threading

import pytest

from lorakiln.artefacts.json_files import read_json
from lorakiln.serving.local import listen, make_server
from tests.review.browser import find_chromium, open_browser

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


def test_pairs_are_judged_by_keys_and_clicks(make_blind, tmp_path):
    blind = make_blind(4)
    questions = blind.answers.questions
    with open_browser(CHROMIUM, tmp_path) as page, listen(0) as listening:
        server, address = make_server(blind, listening)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            page.open(address)
            assert page.run("document.querySelector('#prompt').textContent") == questions[0].left.prompt.judged
            loaded = "[...document.querySelectorAll('#pair img')].every((one) => one.naturalWidth === 32)"
            assert page.run(loaded)
            for shown, press in enumerate((lambda: page.press("ArrowLeft"), lambda: page.click("#right"))):
                press()
                page.wait(f"document.body.dataset.shown === '{shown + 1}'")
            page.press("u")
            page.wait("document.body.dataset.shown === '1'")
            for shown, key in ((2, "ArrowRight"), (3, "ArrowDown")):
                page.press(key)
                page.wait(f"document.body.dataset.shown === '{shown}'")
            page.click("#equal")
            page.wait("document.body.dataset.shown === 'done'")
            told = page.run("[...document.querySelectorAll('#result li')].map((one) => one.textContent)")
            assert told == blind.describe() and told[0] == "4 answers, 2 of them equal"
            assert page.run("document.querySelector('#pair').hidden") and page.errors == []
        finally:
            server.should_exit = True
            thread.join()
    kept = read_json(tmp_path / "answers.json")
    assert [kept[one.key] for one in questions] == [questions[0].left.key, questions[1].right.key, "equal", "equal"]
