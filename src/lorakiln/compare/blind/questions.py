"""What is asked: two files' pictures of one prompt and seed, in an order that tells nothing."""

import random
from dataclasses import dataclass
from itertools import combinations

from lorakiln.artefacts.hashing import hash_data
from lorakiln.compare.drawing import Plan
from lorakiln.metrics import Shot


@dataclass(frozen=True)
class Question:
    """Which of two pictures is the better.

    Attributes:
        key: of the two pictures, the same whichever stands left.
        left, right: the shots; `places`: which entrants drew them.
    """

    key: str
    left: Shot
    right: Shot
    places: tuple[int, int]


def list_questions(plan: Plan, most: int) -> list[Question]:
    """Every two files beside each other at every prompt and seed, shuffled; of many the first `most`.

    The order and the sides depend on the pictures alone, so that who goes on is asked what is left.
    """
    drawn = [[shot for shot in shots if shot.with_trigger] for shots in plan.of]
    asked = []
    for first, second in combinations(range(len(drawn)), 2):
        for one, other in zip(drawn[first], drawn[second], strict=True):
            key = hash_data(sorted((one.key, other.key)))
            asked.append(Question(key, one, other, (first, second)))
    asked.sort(key=lambda question: question.key)
    draws = random.Random(hash_data([question.key for question in asked]))
    draws.shuffle(asked)
    return [_swap(question) if draws.random() < 0.5 else question for question in asked[:most]]


def _swap(question: Question) -> Question:
    return Question(question.key, question.right, question.left, (question.places[1], question.places[0]))
