"""The base model, as the facts of what was made with it tell it."""

from lorakiln.facts.file import Facts


class BaseFacts(Facts):
    """A base model; see `families.protocol.Family.facts`.

    Attributes:
        name: what it is called in files that others get; export gives it.
    """

    family: str
    path: str
    revision: str = ""
    hash: str
    prediction_type: str
    version: str
    name: str | None = None
