"""Names of files, as they are shown."""


def printable(name: str) -> str:
    """The name as it is, or escaped if it could garble a terminal."""
    return name if all(c.isprintable() or ord(c) > 159 for c in name) else repr(name)
