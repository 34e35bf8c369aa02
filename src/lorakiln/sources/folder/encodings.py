"""Caption files' bytes as text: UTF-8, and UTF-16 that says so; of what is neither, what it would be in others."""

import codecs

from lorakiln.console.terminal_text import escape_line

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What people's editors write where it is not UTF-8, by Python's names; a later one often reads an earlier one's bytes.
CANDIDATES = ("cp932", "gb18030", "big5", "cp949", "cp1251", "cp1252", "cp1250", "euc_jp")
UNMARKED = ("utf-16-le", "utf-16-be")  # of what holds NUL bytes, as its letters are two bytes each
SHOWN = 40  # letters of each


def decode_text(content: bytes, encoding: str = "") -> str:
    """The text of a file.

    Args:
        encoding: Python's name of it; "": UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        UnicodeDecodeError: it is not; NUL bytes are no text, though UTF-8 has them.
    """
    text = content.decode(encoding or ("utf-16" if content.startswith(UTF16) else "utf-8-sig"))
    if "\0" in text:
        at = max(content.find(b"\0"), 0)
        raise UnicodeDecodeError(encoding or "utf-8", content, at, at + 1, "NUL bytes are no text")
    return text


def encode_text(text: str, like: bytes) -> bytes:
    """The bytes of a text in the encoding of a file that `decode_text` can read, with the same byte order mark."""
    marks = {
        codecs.BOM_UTF16_LE: "utf-16-le",
        codecs.BOM_UTF16_BE: "utf-16-be",
        codecs.BOM_UTF8: "utf-8",
    }
    mark, encoding = next(((one, name) for one, name in marks.items() if like.startswith(one)), (b"", "utf-8"))
    return mark + text.encode(encoding)


def list_readings(content: bytes) -> dict[str, str]:
    """What the bytes are in each encoding that can hold them, by its name; nothing where two give the same text twice.

    No reading is chosen: Chinese, Japanese and Cyrillic text of a few words can be told apart by who can read it alone.
    """
    found: dict[str, str] = {}
    for name in UNMARKED if b"\0" in content else CANDIDATES:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if text not in found.values() and all(letter.isprintable() or letter.isspace() for letter in text):
            found[name] = text
    return found


def describe_readings(content: bytes) -> str:
    """The readings in one line: cp1251 'кот', cp1252 'êîò'."""
    shown = {name: " ".join(text.split())[:SHOWN] for name, text in list_readings(content).items()}
    return ", ".join(f"{name} '{escape_line(text)}'" for name, text in shown.items())
