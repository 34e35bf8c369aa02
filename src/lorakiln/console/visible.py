"""Text from files that anyone may have written, shown without its control characters taking effect."""


def visible(text: str) -> str:
    """`text` with what a terminal acts upon, or does not show, as escapes: "\\x1b[31m"; line breaks stay."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)
