"""How many of what, in words."""


def format_count(count: int, noun: str, spec: str = "") -> str:
    """A number and what it counts: "1 picture", "2 pictures", "0 boxes".

    Args:
        noun: in the singular, of which a last "x" or "ch" has "es" in the plural; "hand edit".
        spec: the number's format, as "," for 1,000.
    """
    ending = "" if count == 1 else "es" if noun.endswith(("x", "ch")) else "s"
    return f"{count:{spec}} {noun}{ending}"
