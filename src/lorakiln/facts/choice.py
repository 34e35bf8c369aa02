"""choice.json: which saved step `choose` recommends, and what it measured."""

from pathlib import Path

from lorakiln.facts.file import Facts

CHOICE = "choice.json"


class Measured(Facts):
    """A mean with its 95% interval, where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


class MeasuredCandidate(Facts):
    """A saved step at a weight, as `choose` measured it.

    Attributes:
        prompts, pictures: that were drawn with it; of the weaker ones fewer.
        worth: the product of the five after it, each 0 to 1.
        learned, detail, followed, agreement, whole: see `worth.measures.Factors`.
        copies: the share of its pictures that are nearer to a training picture than any two of these to each other.
        moved: how far they are from the base's of the same prompt and seed; 1: as far as another seed; None: not known.
        bleed: how far its pictures of prompts without the trigger words are from the base's; 1: as far as another
            seed; None: not known, as of those that were not drawn with all prompts.
        diversity: how unlike its pictures of one prompt are from seed to seed; 1: as the base's; None: not known.
        state: "good", "underfitted", "overfitted", "memorised", "bled", "unsteady" (of most
            prompts its seeds do not agree) or "broken".
    """

    step: int
    weight: float
    prompts: int
    pictures: int
    worth: Measured
    learned: float
    detail: float
    followed: float
    agreement: float
    whole: float
    copies: float
    moved: float | None = None
    diversity: Measured | None = None
    bleed: Measured | None = None
    state: str


class Recommended(Facts):
    """What to use: a step and a weight.

    Attributes:
        low, high: the weights of this step that are worth as much as can be told.
        picture: one that was drawn with it, relative to the choice's folder.
    """

    step: int
    weight: float
    low: float
    high: float
    picture: str

    def at_strength(self, strength: float) -> "Recommended":
        """The same of a file that does only so much of what was trained at weight 1 (`export.strength`)."""
        weights = {name: round(getattr(self, name) / strength, 4) for name in ("weight", "low", "high")}
        return self.changed(**weights)


class Choice(Facts):
    """choice.json: which of a run's saved steps to use, and at which weight; or why that cannot be told.

    Attributes:
        can_tell: whether the measures can: enough prompts were drawn, and CLIP knows such pictures.
        headline: two sentences for a beginner.
        rivals: what cannot be told apart from it, or comes next.
        advice: what to change next time, each with the measure that says so.
        candidates: all that were drawn, by step and weight; none where nothing was to choose.
        base: what the base's own pictures are like: `followed`, `agreement`, `copies`.
    """

    recommended: Recommended | None = None
    can_tell: bool = True
    headline: str = ""
    rivals: list[str] = []
    advice: list[str] = []
    candidates: list[MeasuredCandidate] = []
    base: dict[str, float] = {}


def read_choice(folder: Path) -> Choice:
    """What `choose` wrote into its folder; of a file from elsewhere there is none, and nothing is recommended."""
    file = folder / CHOICE
    return Choice.read(file) if file.exists() else Choice()
