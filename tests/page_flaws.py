"""What a page of HTML lacks for those who hear it: what can be told without a browser."""

from html.parser import HTMLParser


class _Reader(HTMLParser):
    """Notes headings, pictures and tables as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.flaws: list[str] = []
        self.levels: list[int] = []
        self.mains = 0
        self.tables: list[list[str]] = []  # of each that is open the names of its pictures

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        given, place = dict(pairs), f"line {self.getpos()[0]}"
        if tag == "html" and not given.get("lang"):
            self.flaws.append("its language is not told")
        self.mains += tag == "main"
        if tag in ("h1", "h2", "h3", "h4"):
            self.levels.append(int(tag[1]))
        if tag == "table":
            self.tables.append([])
            if not given.get("aria-label"):
                self.flaws.append(f"{place}: a table without a name")
        if tag == "th" and given.get("scope") not in ("row", "col", "colgroup"):
            self.flaws.append(f"{place}: a head of neither a row nor a column")
        if tag == "img":
            name = given.get("alt") or ""
            if not name:
                self.flaws.append(f"{place}: a picture without a name")
            if self.tables:
                if name in self.tables[-1]:
                    self.flaws.append(f"{place}: two pictures of a table are called {name!r}")
                self.tables[-1].append(name)
        if given.get("tabindex", "0") not in ("0", "-1"):
            self.flaws.append(f"{place}: the keyboard goes another way than the page")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.tables.pop()


def list_flaws(page: str) -> list[str]:
    """Each as a sentence; none of a page whose parts a screen reader can tell and find."""
    reader = _Reader()
    reader.feed(page)
    levels = reader.levels
    if levels[:1] != [1] or levels.count(1) != 1:
        reader.flaws.append(f"its headings do not begin with the one h1: {levels}")
    if any(after > before + 1 for before, after in zip(levels, levels[1:], strict=False)):
        reader.flaws.append(f"its headings leave a level out: {levels}")
    if reader.mains != 1:
        reader.flaws.append("it has not one main part")
    return reader.flaws
