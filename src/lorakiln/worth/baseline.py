"""From scored pictures to what is measured of each candidate, beside what the base's pictures have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lorakiln.metrics import Metric, MetricInputs, Prompt, Scored
from lorakiln.metrics._cosines import compute_mean_cosine, compute_seed_distance
from lorakiln.metrics.coherence import ALIKE, compute_unlike
from lorakiln.worth.measures import Measures

LIKENESS, DETAIL = "image_similarity", "detail_similarity"
T = TypeVar("T")


@dataclass(frozen=True)
class Baseline:
    """What the base's and the training pictures have, which every candidate is measured by.

    Attributes:
        prompts: in the order in which rounds take them.
        texts: (P, D) CLIP's unit embedding of each, without its trigger words.
        origins: (D,) CLIP's unit embedding of each of the base's pictures, by prompt and seed.
        apart: how far the base's seeds are from each other, 1 - cosine; None if it drew each prompt once.
        unlike: the mean cosine between the base's pictures of different prompts; None if it cannot be told.
        base: mean score of the base's pictures by metric.
        ceilings: the training pictures' own, beside each other, by metric; none if there is one picture alone.
    """

    metrics: Sequence[Metric]
    prompts: Sequence[Prompt]
    texts: np.ndarray
    origins: Mapping[tuple[int, int], np.ndarray]
    apart: float | None
    unlike: float | None
    base: dict[str, float]
    ceilings: dict[str, float]

    @classmethod
    def of(
        cls, inputs: MetricInputs, scored: Sequence[Scored], metrics: Sequence[Metric], prompts: Sequence[Prompt]
    ) -> "Baseline":
        """Of the base's pictures, which are among the scored."""
        base = [item for item in scored if not item.shot.weight]
        means = {}
        for metric in metrics:
            values = [value for item in base if (value := item.values.get(metric.name)) is not None]
            if values:
                means[metric.name] = float(np.mean(values))
        origins = {(item.shot.prompt.index, item.shot.seed): item.embedding for item in base if item.shot.with_trigger}
        groups = [np.stack(group) for group in _by_prompt(base, prompts, lambda item: item.embedding) if group]
        known = {metric.name: metric.of_training_pictures(inputs) for metric in metrics}
        return cls(
            metrics,
            prompts,
            inputs.embed_texts([prompt.judged for prompt in prompts]),
            origins,
            compute_seed_distance(origins),
            compute_unlike(groups),
            means,
            {name: ceiling for name, ceiling in known.items() if ceiling is not None},
        )

    def measure(self, scored: Sequence[Scored], count: int) -> Measures:
        """Of one candidate's pictures, or the base's, of the first `count` prompts."""
        prompts = self.prompts[:count]

        def column(name: str) -> np.ndarray:
            values = _by_prompt(scored, prompts, lambda item: item.values.get(name))
            return _means([[value for value in group if value is not None] for group in values])

        learned = [column(one.name) for one in self.metrics if one.role == "learned" and one.fraction]
        if not learned:
            learned = [self._share_of_the_way(LIKENESS, column(LIKENESS))]
        asked = [column(one.name) for one in self.metrics if one.role == "prompt" and one.fraction]
        followed = _mean_known(asked) if asked else self._contrast(scored, prompts)
        seeds = [np.stack(group) for group in _by_prompt(scored, prompts, lambda item: item.embedding)]
        agreeing = np.array([self._agree(group) for group in seeds])
        detail = self._share_of_the_way(DETAIL, column(DETAIL))
        moved = _means(_by_prompt(scored, prompts, self._measure_move))
        return Measures(_mean_known(learned), detail, followed, agreeing, column("copies"), column("damage"), moved)

    def _share_of_the_way(self, name: str, likeness: np.ndarray) -> np.ndarray:
        """From the base's mean to what the training pictures have among themselves; NaN where that is not known."""
        base, ceiling = self.base.get(name), self.ceilings.get(name)
        if base is None or ceiling is None or ceiling <= base:
            return np.full(len(likeness), np.nan)
        return (likeness - base) / (ceiling - base)

    def _measure_move(self, item: Scored) -> float:
        """From the base's picture of the same prompt and seed; NaN where one seed alone was drawn."""
        if not self.apart:
            return float("nan")
        origin = self.origins[item.shot.prompt.index, item.shot.seed]
        return max(0.0, 1 - float(origin @ item.embedding)) / self.apart

    def _contrast(self, scored: Sequence[Scored], prompts: Sequence[Prompt]) -> np.ndarray:
        """How much better CLIP finds pictures fit their own prompt than the others, by prompt, in cosines.

        A LoRA's subject fits no prompt, for none names it: that lowers a picture's score with all of them alike, and
        goes out of the difference.
        """
        texts = self.texts[: len(prompts)]
        others = np.array([[one.judged != two.judged for two in prompts] for one in prompts])
        values = []
        for row, group in enumerate(_by_prompt(scored, prompts, lambda item: item.embedding)):
            fits = np.stack(group) @ texts.T
            values.append(list(fits[:, row] - fits[:, others[row]].mean(axis=1)) if others[row].any() else [])
        return _means(values)

    def _agree(self, seeds: np.ndarray) -> float:
        if len(seeds) < 2 or self.unlike is None or self.unlike > ALIKE:
            return float("nan")
        return (compute_mean_cosine(seeds) - self.unlike) / (1 - self.unlike)


def _by_prompt(scored: Sequence[Scored], prompts: Sequence[Prompt], of: Callable[[Scored], T]) -> list[list[T]]:
    """What `of` says of each prompt's pictures that were drawn with the trigger words, in the prompts' order."""
    groups: dict[int, list[T]] = {prompt.index: [] for prompt in prompts}
    for item in scored:
        if item.shot.with_trigger and item.shot.prompt.index in groups:
            groups[item.shot.prompt.index].append(of(item))
    return list(groups.values())


def _mean_known(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several columns, row by row, of what is known; NaN where nothing is."""
    return _means([[value for value in row if not np.isnan(value)] for row in zip(*columns, strict=True)])


def _means(groups: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array([np.mean(group) if len(group) else np.nan for group in groups])
