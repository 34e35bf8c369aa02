"""How many pictures each candidate is drawn with: all a few, the better ones more.

That is successive halving (Karnin, Koren and Somekh, ICML 2013). The choice costs about twice the pictures of an
evaluation of one file this way, not as many times as there are candidates.
"""

from collections.abc import Iterator, Sequence

from lorakiln.choose.candidates import Candidate

FIRST = 6  # prompts of the first round: one more than an interval needs
KEPT = 1 / 3  # of the candidates go on to the next round, with twice the prompts
FEWEST = 3  # candidates that are drawn with all prompts


class Rounds:
    """The rounds of a choice.

    Args:
        prompts: most prompts that a candidate is drawn with.
        halving: whether the weaker ones are left out on the way; else there is one round.
    """

    def __init__(self, candidates: Sequence[Candidate], prompts: int, halving: bool) -> None:
        self._candidates, self._prompts, self._halving = list(candidates), prompts, halving

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(candidates, prompts) of each round."""
        count, prompts = len(self._candidates), FIRST
        if not self._halving or count <= FEWEST:
            yield count, self._prompts
            return
        while prompts < self._prompts:
            yield count, prompts
            count = max(FEWEST, min(count, -(-count // round(1 / KEPT))))
            prompts = self._prompts if count == FEWEST else 2 * prompts
        yield count, self._prompts

    def count_pictures(self, seeds: int, bare: int) -> int:
        """All that will be drawn, the base's too.

        Args:
            bare: prompts that the base and those of the last round are drawn with once more, without the trigger words.
        """
        drawn, before, count = 0, 0, 0
        for count, prompts in self:
            drawn += count * (prompts - before)
            before = prompts
        return seeds * (drawn + self._prompts + bare * (count + 1))


def order_prompts(count: int, most: int) -> list[int]:
    """Numbers of at most `most` of `count` prompts, so that the first few are spread over all of them.

    Neighbours in a list of prompts are often alike.
    """
    chosen = [place * count // min(most, count) for place in range(min(most, count))]
    stride = next(step for step in range(max(1, len(chosen) // FIRST), len(chosen) + 1) if _visits_all(step, chosen))
    return [chosen[place * stride % len(chosen)] for place in range(len(chosen))]


def _visits_all(stride: int, items: Sequence[int]) -> bool:
    """Whether steps of `stride` around a ring come to every item."""
    return len({place * stride % len(items) for place in range(len(items))}) == len(items)
