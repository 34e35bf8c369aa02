"""The pictures that a LoRA is measured by: which prompt, seed and weight they are drawn from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """One prompt of the settings.

    Attributes:
        index: its place in the settings, from 0.
        text: with the trigger words in place, as it is drawn.
        bare: with the trigger words taken out.
    """

    index: int
    text: str
    bare: str

    @property
    def judged(self) -> str:
        """What CLIP compares pictures with: CLIP does not know the trigger, so it is left out where words remain."""
        return self.bare or self.text


@dataclass(frozen=True)
class Shot:
    """One picture to draw; `key` is equal for equal pictures, whatever their prompt's place.

    Attributes:
        adapter: which of several LoRAs draws it; "": the only one there is, or none, at weight 0.
    """

    prompt: Prompt
    with_trigger: bool
    seed: int
    weight: float
    width: int
    height: int
    key: str
    adapter: str = ""

    @property
    def text(self) -> str:
        return self.prompt.text if self.with_trigger else self.prompt.bare

    @property
    def file_name(self) -> str:
        """Its path below samples/, such as w1.00/p000-s0.png; of several LoRAs below a folder of each one's name."""
        folder = f"w{format_weight(self.weight)}" + ("" if self.with_trigger else "-without-trigger")
        above = f"{self.adapter}/" if self.adapter else ""
        return f"{above}{folder}/p{self.prompt.index:03d}-s{self.seed}.png"


def format_weight(weight: float) -> str:
    """A weight as it stands in file and metric names: two decimals, more where two do not tell it."""
    short = f"{weight:.2f}"
    return short if float(short) == weight else f"{weight:g}"
