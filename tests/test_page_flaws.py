"""What pages lack is found."""

import pytest

from tests.page_flaws import list_flaws

PAGE = """<!doctype html><html lang="en"><main><h1>a</h1><h2>b</h2>
<table aria-label="t"><tr><th scope="col">c</th></tr><tr><td>
<img alt="d" src="x"><img alt="e" src="x"></td></tr></table>
</main></html>"""


def test_a_whole_page_has_none():
    assert list_flaws(PAGE) == []


@pytest.mark.parametrize(
    ("whole", "broken", "flaw"),
    [
        (' lang="en"', "", "its language is not told"),
        (' aria-label="t"', "", "line 2: a table without a name"),
        (' scope="col"', "", "line 2: a head of neither a row nor a column"),
        (' alt="d"', "", "line 3: a picture without a name"),
        ('alt="d"', 'alt="e"', "line 3: two pictures of a table are called 'e'"),
        ("<h2>b</h2>", "<h3>b</h3>", "its headings leave a level out: [1, 3]"),
        ("<h1>a</h1>", "", "its headings do not begin with the one h1: [2]"),
        ("<main>", "", "it has not one main part"),
        ("<h2>", '<h2 tabindex="2">', "line 1: the keyboard goes another way than the page"),
    ],
)
def test_what_is_missing_is_told(whole, broken, flaw):
    assert list_flaws(PAGE.replace(whole, broken, 1)) == [flaw]
