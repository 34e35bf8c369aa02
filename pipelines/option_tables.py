"""Write the tables of docs/from-kohya.md and docs/from-diffusers.md: `python -m pipelines.option_tables`."""

import re
from collections.abc import Mapping
from pathlib import Path

from lorakiln.schema.other_trainers import diffusers, sd_scripts
from lorakiln.schema.other_trainers.option import Option

PAGES = {"docs/from-kohya.md": sd_scripts.SECTIONS, "docs/from-diffusers.md": diffusers.SECTIONS}
BETWEEN = re.compile(r"(?<=<!-- tables: begin -->\n).*(?=<!-- tables: end -->)", re.DOTALL)


def format_tables(sections: Mapping[str, tuple[Option, ...]]) -> str:
    """A heading and a table for each section."""
    lines = [""]
    for title, options in sections.items():
        lines += [f"## {title}", "", "| there | here | |", "|---|---|---|", *map(_format_row, options), ""]
    return "\n".join(lines)


def replace_tables(page: str, sections: Mapping[str, tuple[Option, ...]]) -> str:
    """The page with the tables between its two marks."""
    return BETWEEN.sub(lambda _: format_tables(sections), page)


def _format_row(option: Option) -> str:
    cells = [", ".join(f"`{name}`" for name in names) or "-" for names in (option.theirs, option.ours)]
    return f"| {cells[0]} | {cells[1]} | {option.remark} |"


def main() -> None:
    for name, sections in PAGES.items():
        path = Path(name)
        path.write_text(replace_tables(path.read_text(), sections))


if __name__ == "__main__":
    main()
