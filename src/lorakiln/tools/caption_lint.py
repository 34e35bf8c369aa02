"""What is odd about a dataset's captions, found before they are trained on: nothing is written, no model is asked.

Captions are found as `caption` finds them. What a base cuts off, and how it reads trigger words, its tokenizer says.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.caption.trigger import holds_trigger, prepend_trigger
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.families.protocol import Family
from lorakiln.families.trigger_words import find_broken_words, format_pieces, is_ordinary
from lorakiln.sources import CaptionProblem, Captions, open_source
from lorakiln.sources.folder.captions import PRECEDENCE

ENDINGS = (".txt", ".caption")
FEW = 4  # captions, of which a tag in all says nothing yet


@dataclass(frozen=True)
class Reader:
    """A base model that reads the captions.

    Attributes:
        family: its text encoders' tokenizers are loaded.
        chunks: how many times the encoder's length is read, see `encode.max_tokens`.
    """

    family: Family
    chunks: int = 1

    def describe_cut(self, text: str, trigger: str = "") -> str:
        """What of a caption is not read, "93 tokens of 75, cut: 'in the rain'"; "" if all of it is.

        Args:
            trigger: words that `caption` will put in front.
        """
        whole = prepend_trigger(trigger, text)
        cut = self.family.unread(whole, self.chunks)
        most = self.chunks * self.family.max_tokens
        return f"{format_count(self.family.count_tokens(whole), 'token')} of {most}, cut: {cut!r}" if cut else ""


@dataclass
class CaptionFindings:
    """What was found, each list as "name: what".

    Attributes:
        pictures, captions: how many there are.
        missing: pictures without a caption.
        unusable: files that are no captions: empty, damaged, of another encoding.
        contradictions: pictures with several captions that differ, the one that is taken first.
        untriggered, doubled: captions without the trigger words, and with them more than once.
        everywhere: tags that all captions have, which tell the pictures apart in nothing.
        cut: captions that are longer than the base reads, with what is lost.
        trigger: what is odd about the trigger words themselves.
        lonely: caption files of no picture.
    """

    pictures: int = 0
    captions: int = 0
    missing: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    untriggered: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    everywhere: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    trigger: list[str] = field(default_factory=list)
    lonely: list[str] = field(default_factory=list)

    def titles(self) -> Mapping[str, Sequence[str]]:
        """What was found by what to call it, those without any left out."""
        titles = {
            "pictures without a caption": self.missing,
            "captions that cannot be used": self.unusable,
            "pictures with several captions that differ; the first is taken": self.contradictions,
            "captions without the trigger words": self.untriggered,
            "captions that have the trigger words more than once": self.doubled,
            "tags in every caption, which the trigger words could stand for": self.everywhere,
            "captions that are longer than the base reads": self.cut,
            "trigger words": self.trigger,
            "captions without a picture": self.lonely,
        }
        return {title: found for title, found in titles.items() if found}


def lint_captions(folder: Path, trigger: str = "", reader: Reader | None = None) -> CaptionFindings:
    """Look through a dataset's captions.

    Args:
        trigger: words that every caption is to hold; "": this is not looked at. Regularisation pictures need none.
        reader: a base model; None: what needs one is not looked at.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    check_pulled(folder)
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, fix="name one with pictures and captions: data/raw/NAME")
    source = open_source(folder)
    contents = source.scan()
    if not contents.pictures:
        raise UserError("no pictures here", where=folder, fix="name the folder with the pictures")
    found, texts = CaptionFindings(pictures=len(contents.files)), dict[str, str]()
    # Each on its own, so that what another one hides is seen too; both kinds of caption files as well.
    by_hand = source.captions(ENDINGS, ["edit"])
    readers = [
        *(source.captions([ending], ["sidecar"]) for ending in ENDINGS),
        *(source.captions(ENDINGS, [kind]) for kind in PRECEDENCE if kind not in ("edit", "sidecar")),
    ]
    for picture in contents.files:
        # A hand edit is there to differ from the others.
        told = _read_all([by_hand], picture) or _read_all(readers, picture)
        found.unusable += [f"{one.file}: {one.describe()}" for one in told.values() if isinstance(one, CaptionProblem)]
        usable = {name: text for name, text in told.items() if isinstance(text, str)}
        if not told:
            found.missing.append(picture)
        if len({text.casefold() for text in usable.values()}) > 1:
            found.contradictions.append(f"{picture}: " + ", ".join(f"{name} {usable[name]!r}" for name in usable))
        if usable:
            texts[picture] = next(iter(usable.values()))
    found.captions = len(texts)
    of_subject = {name: text for name, text in texts.items() if not contents.is_reg(name)}
    if trigger.split():
        found.untriggered = [f"{name}: {text}" for name, text in of_subject.items() if not holds_trigger(text, trigger)]
        found.doubled = [f"{name}: {text}" for name, text in of_subject.items() if count_trigger(text, trigger) > 1]
    if reader:
        cut = {
            name: reader.describe_cut(text, "" if contents.is_reg(name) else trigger) for name, text in texts.items()
        }
        found.cut = [f"{name}: {what}" for name, what in cut.items() if what]
        found.trigger = describe_trigger(reader.family, trigger)
    found.everywhere = find_common_tags(list(of_subject.values()), trigger)
    found.lonely = sorted(source.captions(ENDINGS, PRECEDENCE).without_picture(contents.files))
    return found


def describe_trigger(family: Family, trigger: str) -> list[str]:
    """What is odd about trigger words, a sentence each."""
    found = [
        f"read in pieces, which bring along what they mean: {format_pieces({word: pieces})}"
        for word, pieces in find_broken_words(family, trigger).items()
    ]
    if is_ordinary(family, trigger):
        found.append(
            f"{trigger!r} is ordinary words, which the base knows as something else: put a rare one before, as in "
            "'sks dog'"
        )
    return found


def count_trigger(text: str, trigger: str) -> int:
    """How often the trigger's words stand in a text, whole and in this order, in any case."""
    words = r"\s+".join(re.escape(word) for word in trigger.split())
    return len(re.findall(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE))


def find_common_tags(texts: Sequence[str], trigger: str = "") -> list[str]:
    """The tags, what is between commas, that all of the texts have, but for the trigger words; of FEW texts none."""
    if len(texts) < FEW:
        return []
    counts = Counter(tag for text in texts for tag in {" ".join(one.split()).casefold() for one in text.split(",")})
    usual = " ".join(trigger.split()).casefold()
    return sorted(tag for tag, count in counts.items() if count == len(texts) and tag not in ("", usual))


def _read_all(readers: Sequence[Captions], picture: str) -> dict[str, str | CaptionProblem]:
    """All captions of a picture by the names of what they stand in, the one that is taken first."""
    names = {name: captions for captions in readers if (name := captions.find(picture))}
    return {name: captions.read(name, picture) for name, captions in names.items()}
