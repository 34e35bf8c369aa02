"""The pictures: dataset.json of a prepared or captioned folder, and what later facts keep of it."""

from typing import Any

from lorakiln.facts.file import Facts, MadeWith


class DatasetFacts(Facts):
    """The pictures.

    Attributes:
        out_of_domain: in words, that the base does not know such pictures.
    """

    name: str
    hash: str
    pictures: int
    trigger: str = ""
    out_of_domain: str | None = None


class Dataset(DatasetFacts, MadeWith):
    """dataset.json of a prepared or captioned folder.

    Attributes:
        buckets: pictures by bucket, "64x48".
        quarantined: files that were left out.
        excluded: pictures that a hand edit leaves out, below the dataset's folder.
        captioner: where it comes from, as the settings have it.
        settings: of the stages so far, by stage, JSON.
    """

    buckets: dict[str, int] | None = None
    quarantined: int = 0
    excluded: list[str] = []
    captioner: dict[str, Any] | None = None
    settings: dict[str, Any]
