"""Whether drawn pictures are pictures of something: no noise, no blur, and for every seed the same thing.

CLIP's embedding of a picture of something changes when its parts change places (noise stays noise) and when its
detail goes (a blur stays a blur), and the pictures of one prompt agree from seed to seed on what they show. The debris
of a LoRA that has learned colours and strokes alone has parts and detail, but each seed gives another heap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from lorakiln.metrics import Caveat, MetricInputs, Scored
from lorakiln.metrics._cosines import compute_mean_cosine

# Seeds agree if their likeness goes half of the way from pictures of different prompts (the base's) to equal ones.
# The tiny family's debris goes 22 to 41% of it, in the mean over prompts, its good style and character 84%.
AGREE = 0.5
MOST_PROMPTS = 0.75  # of them agree, else the pictures show nothing; debris: 0 to 50%, good ones: 100%
# Blurring and shuffling must take so much of what they take from the training pictures: noise loses 9% by shuffling,
# a blur 7% by blurring; debris and good pictures lose 80% and more by both.
LOSES = 1 / 3
BLUR = 0.08  # standard deviation, of the longer side
TILES = 3  # a side
MOST_PICTURES = 64  # altered and embedded: the median over so many is steady
ALIKE = 0.95  # a base whose pictures of different prompts are so alike draws nothing, or CLIP sees nothing in it
RULE = (
    "Its pictures must be pictures of something: the seeds of "
    f"{MOST_PROMPTS:.0%} of the prompts agree in CLIP's eyes on what they show ({AGREE:.0%} of the way from the "
    "base's pictures of different prompts to equal ones), and blurring or shuffling their parts takes at least a "
    "third of what it takes from the training pictures, which noise and blurs do not lose."
)


@dataclass(frozen=True)
class Coherence:
    """What speaks for pictures of something, at one weight.

    Attributes:
        agreeing: the share of prompts, 0 to 1, whose seeds agree; None if each prompt was drawn once.
        detail, arrangement: the median loss of likeness by blurring and by shuffling, as a share of the training
            pictures' own; 1: as much.
    """

    agreeing: float | None
    detail: float
    arrangement: float

    @property
    def objection(self) -> str | None:
        """Why the pictures are not taken for pictures of something; None if they are."""
        if self.detail < LOSES:
            return "they are blurs, which more blurring leaves as they are"
        if self.arrangement < LOSES:
            return "their parts can change places and they stay as they are, like noise"
        if self.agreeing is None:
            return "evaluate.seeds needs two or more"
        if self.agreeing < MOST_PROMPTS:
            return f"in {1 - self.agreeing:.0%} of the prompts each seed shows something else"
        return None

    @property
    def unknown(self) -> bool:
        """Nothing speaks against the pictures, but nobody asked whether their seeds agree."""
        return self.agreeing is None and min(self.detail, self.arrangement) >= LOSES

    @property
    def caveat(self) -> Caveat | None:
        """The objection as the verdict tells it."""
        if self.objection is None:
            return None
        if self.unknown:
            return Caveat(f"whether its pictures show anything cannot be told: {self.objection}", proven=False)
        return Caveat(f"its pictures show nothing that can be recognised: {self.objection}", proven=True)

    def as_dict(self) -> dict[str, float]:
        """For metrics.json, rounded to 6 digits; what is not known is left out."""
        return {name: round(value, 6) for name, value in vars(self).items() if value is not None}


def examine(inputs: MetricInputs, scored: Sequence[Scored], weight: float) -> Coherence:
    """Of the pictures that are drawn at `weight` with their trigger words."""
    shown = [row for row, shot in enumerate(inputs.shots) if shot.with_trigger and shot.weight == weight]
    shown = [shown[number] for number in spread(len(shown))]
    files = [inputs.files[row] for row in shown]
    few = spread(len(inputs.trained))
    known = [inputs.trained[number] for number in few]
    detail, arrangement = (
        compute_detail_loss(inputs.embeddings[shown], inputs.embed_pictures(files, alter))
        / max(compute_detail_loss(inputs.references[few], inputs.embed_pictures(known, alter)), 1e-6)
        for alter in (blur, shuffle)
    )
    return Coherence(compute_agreement(scored, weight), detail, arrangement)


def blur(image: Image.Image) -> Image.Image:
    """The picture without its detail."""
    return image.filter(ImageFilter.GaussianBlur(BLUR * max(image.size)))


def shuffle(image: Image.Image) -> Image.Image:
    """The picture with its 3 x 3 tiles in another order, always the same one; the tiles' sides are rounded down."""
    width, height = image.width // TILES, image.height // TILES
    order = np.random.default_rng(0).permutation(TILES * TILES)
    shuffled = Image.new("RGB", (width * TILES, height * TILES))
    for place, source in enumerate(order):
        left, top = int(source % TILES) * width, int(source // TILES) * height
        tile = image.crop((left, top, left + width, top + height))
        shuffled.paste(tile, (place % TILES * width, place // TILES * height))
    return shuffled


def spread(count: int, most: int = MOST_PICTURES) -> list[int]:
    """At most `most` of `count` numbers from 0, evenly."""
    return list(range(count))[:: -(-count // most)] if count else []


def compute_detail_loss(whole: np.ndarray, altered: np.ndarray) -> float:
    """The median of 1 - cosine between pictures and their altered selves.

    Args:
        whole, altered: (N, D) unit embeddings.
    """
    return float(np.median(1 - (whole * altered).sum(axis=1)))


def compute_agreement(scored: Sequence[Scored], weight: float) -> float | None:
    """The share of prompts, drawn with their trigger words, whose seeds agree at `weight`; see AGREE.

    None if no prompt was drawn with two seeds. 0 if the base's pictures of different prompts are all alike, or if
    there is but one prompt.
    """
    groups: dict[tuple[float, int], list[np.ndarray]] = {}
    for item in scored:
        if item.shot.with_trigger:
            groups.setdefault((item.shot.weight, item.shot.prompt.index), []).append(item.embedding)
    drawn = [np.stack(group) for (at, _), group in groups.items() if at == weight and len(group) > 1]
    if not drawn:
        return None
    unlike = compute_unlike([np.stack(group) for (at, _), group in groups.items() if at == 0])
    if unlike is None or unlike > ALIKE:
        return 0.0
    return float(np.mean([(compute_mean_cosine(group) - unlike) / (1 - unlike) >= AGREE for group in drawn]))


def compute_unlike(groups: Sequence[np.ndarray]) -> float | None:
    """The mean cosine between pictures of different groups, (n, D) unit embeddings each; None of one group alone."""
    if len(groups) < 2:
        return None
    sums = np.stack([group.sum(axis=0) for group in groups])
    pairs = sum(len(group) for group in groups) ** 2 - sum(len(group) ** 2 for group in groups)
    total = float((sums @ sums.T).sum() - (sums**2).sum())
    return total / pairs
