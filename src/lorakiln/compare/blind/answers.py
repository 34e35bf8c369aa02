"""What somebody has answered, kept from the moment that it is."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from lorakiln.artefacts.json_files import Damaged, read_json, write_json
from lorakiln.compare.blind.questions import Question
from lorakiln.console.errors import UserError

LEFT, RIGHT, EQUAL = "left", "right", "equal"
SIDES = (LEFT, RIGHT, EQUAL)


class Answers:
    """The answers to some questions, in a file that also keeps those to others.

    Attributes:
        given: the side that was chosen, by the question's key, in the order of the answers.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, questions: Sequence[Question], file: Path) -> None:
        self.questions, self.file, self._lock = list(questions), file, Lock()
        # By the better picture's key, which stays true where the sides are others.
        kept = self._kept = _read_kept(file)
        self.given = {one.key: _find_side(one, kept[one.key]) for one in questions if one.key in kept}

    def find_next(self) -> int | None:
        """The number of the first question without an answer; None if there is none."""
        return next((number for number, one in enumerate(self.questions) if one.key not in self.given), None)

    def add(self, number: int, side: str) -> None:
        """Keep an answer.

        Raises:
            UserError: there is no such question or side, or the disk is full or not writable.
        """
        if not 0 <= number < len(self.questions) or side not in SIDES:
            raise UserError("no such question or answer", fix="load the page again")
        question = self.questions[number]
        better = {LEFT: question.left.key, RIGHT: question.right.key, EQUAL: EQUAL}[side]
        with self._lock:
            self._write({**self._kept, question.key: better})
            self.given = {**self.given, question.key: side}

    def take_back(self) -> None:
        """Forget the last answer of this sitting or of one before; nothing where there is none."""
        with self._lock:
            if self.given:
                *before, last = self.given
                self._write({key: value for key, value in self._kept.items() if key != last})
                self.given = {key: self.given[key] for key in before}

    def _write(self, kept: dict[str, str]) -> None:
        write_json(self.file, kept)
        self._kept = kept


def _read_kept(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        kept = read_json(file)
    except Damaged:
        kept = None
    if kept is None or not all(isinstance(one, str) for one in kept.values()):
        raise UserError("no answers of a blind comparison", where=file, fix="move it away, to begin anew")
    return dict(kept)


def _find_side(question: Question, better: str) -> str:
    return {question.left.key: LEFT, question.right.key: RIGHT}.get(better, EQUAL)
