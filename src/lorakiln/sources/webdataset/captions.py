"""The captions in shards."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder.captions import (
    LONGEST,
    LONGEST_TAGS,
    decode_caption,
    decode_tags,
    split_lines,
)
from lorakiln.sources.folder.encodings import decode_text
from lorakiln.sources.folder.metadata import TEXTS

JSON = ".json"


class ShardCaptions:
    """See `folder.layers.InnerCaptions`.

    Args:
        raw: the dataset's folder, in which a file by a member's name stands for it.
        members: the names of all members.
        read: gives the first bytes of a member, so many at most.
        endings: of caption files.
        precedence: of a picture's captions.
    """

    def __init__(
        self,
        raw: Path,
        members: Collection[str],
        read: Callable[[str, int], bytes],
        endings: Sequence[str],
        precedence: Sequence[str],
    ) -> None:
        self.raw, self.members, self._read_member, self.precedence = raw, members, read, precedence
        self.endings = ["." + ending.lstrip(".").lower() for ending in endings]
        # By the picture's name without its ending, and the ending in lower case.
        self._texts = {(_stem(name), PurePosixPath(name).suffix.lower()): name for name in members}

    def holds(self, name: str) -> bool:
        return name in self.members and not (self.raw / name).exists()

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        if self._is_json(name):
            found = self._tell_json(name, self.precedence)
            gone = CaptionProblem(name, "has no caption any more", "run the same command again")
            return found if isinstance(found, CaptionProblem) else split_lines(found or "") or gone
        content = self._read_bytes(name, LONGEST)
        return content if isinstance(content, CaptionProblem) else decode_caption(name, content)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        stems = {_stem(name) for name in pictures}
        for name in sorted(self.members):
            if PurePosixPath(name).suffix.lower() in (*self.endings, JSON) and _stem(name) not in stems:
                yield name

    def find(self, picture: str, kind: str) -> str | None:
        if kind == "sidecar":
            found = (self._texts.get((_stem(picture), ending)) for ending in self.endings)
            return next((name for name in found if name), None)
        name = self._texts.get((_stem(picture), JSON))
        return name if name and self._is_json(name) and self._tell_json(name, [kind]) else None

    def _is_json(self, name: str) -> bool:
        return PurePosixPath(name).suffix.lower() == JSON and JSON not in self.endings

    def _tell_json(self, name: str, kinds: Sequence[str]) -> str | CaptionProblem | None:
        """The first caption in a member of JSON that is of these kinds: a text as "metadata", or "tags"."""
        content = self._read_bytes(name, LONGEST_TAGS)
        tags = content if isinstance(content, CaptionProblem) else decode_tags(name, content)
        if isinstance(content, CaptionProblem) or isinstance(tags, CaptionProblem):
            return tags
        data = json.loads(decode_text(content))
        texts = (data.get(key) for key in TEXTS) if isinstance(data, dict) else ()
        text = next((one for one in texts if isinstance(one, str) and one.strip()), None)
        by_kind = {"metadata": text, "tags": tags}
        return next((found for kind in kinds if (found := by_kind.get(kind))), None)

    def _read_bytes(self, name: str, most: int) -> bytes | CaptionProblem:
        """A member's bytes, one more than `most` at most."""
        try:
            return self._read_member(name, most + 1)
        except OSError as error:
            return CaptionProblem(name, f"cannot be read ({error.strerror})", "look after its shard")


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
