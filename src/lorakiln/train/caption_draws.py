"""What is read beside each picture of a step, where the dataset has more than one text for it.

Every draw follows from (seed, step) and the picture's place in the global batch alone, so that it is the same on any
number of devices and in any micro-batches, and after a resume.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorakiln.captions import draw_text
from lorakiln.captions.chance import RandomChance
from lorakiln.diffusion.random_draws import CAPTIONS, Draws, make_generator
from lorakiln.rows import EncodedRow
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.subset_rules import adapt_rules
from lorakiln.schema.train import TrainSettings
from lorakiln.train.batch_schedule import GlobalBatch
from lorakiln.train.latents import Encoded


class DrawnTexts:
    """Texts as a dataset's rules draw them.

    Args:
        encoded: whose index says how captions are drawn.
        trained: for each bucket the rows that are trained on, as the schedule counts them.
        seed: the training's.
    """

    def __init__(self, encoded: Encoded, trained: Sequence[Sequence[int]], seed: int) -> None:
        self.rows = [[bucket.rows[row] for row in rows] for bucket, rows in zip(encoded.buckets, trained, strict=True)]
        drawn = encoded.index.captions
        self.ahead = [one.text for one in drawn.texts] if drawn else []
        self.rules, self.seed = encoded.index.made_with("encode", EncodeSettings).captions, seed

    def texts(self, step: int, samples: GlobalBatch, part: slice) -> list[str]:
        """The texts of the global batch's pictures in `part`."""
        places = range(len(samples.pictures))[part]
        return [self._draw(step, place, self.rows[samples.bucket][samples.pictures[place]]) for place in places]

    def _draw(self, step: int, place: int, row: EncodedRow) -> str:
        chance = RandomChance(make_generator(self.seed, CAPTIONS, step, place))
        if row.shares:
            number, _ = row.shares[chance.choose([share for _, share in row.shares])]
            return self.ahead[number]
        return draw_text(row.templates, adapt_rules(self.rules, row.rules.captions), chance, step)


class EmbeddedTexts:
    """Gives the embeddings that `encode` made ahead of every text that may be drawn, and of the empty one.

    Args:
        encoded: where it did.
    """

    trained = False

    def __init__(self, encoded: Encoded) -> None:
        drawn = encoded.index.captions
        self._numbers = {one.text: number for number, one in enumerate(drawn.texts)} if drawn else {}
        # Where the others are: brought there in every step, it would make each wait for the one before.
        self._tables = {
            name: (tensor, encoded.empty[name][0].to(tensor.device)) for name, tensor in encoded.drawn.items()
        }

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The texts' conditioning, each value with first dimension B."""
        # The empty one is among them only where rules make it.
        numbers = [self._numbers[text] if text else self._numbers.get(text) for text in texts]
        return {
            name: torch.stack([empty if at is None else tensor[at] for at in numbers])
            for name, (tensor, empty) in self._tables.items()
        }


def is_live(encoded: Encoded) -> bool:
    """Whether the texts of a dataset are embedded when they are drawn, by text encoders that stay loaded."""
    return encoded.index.captions is not None and encoded.index.captions.mode == "live"


def list_dropouts(encoded: Encoded, trained: Sequence[Tensor], objective: ObjectiveSettings) -> list[Tensor]:
    """How often each trained picture has no caption, (N,) in [0, 1] for each bucket; [] where it is as often of all.

    Args:
        trained: for each bucket its rows.
    """
    own = [[row.rules.caption_dropout for row in bucket.rows] for bucket in encoded.buckets]
    if all(rate is None for rates in own for rate in rates):
        return []
    usual = objective.caption_dropout
    every = [torch.tensor([usual if one is None else one for one in rates], dtype=torch.float64) for rates in own]
    return [rates[rows] for rates, rows in zip(every, trained, strict=True)]


def drop_captions(draws: Draws, rates: Tensor | None, step: int, settings: TrainSettings, pictures: int) -> Draws:
    """A step's draws, without the captions of pictures that are drawn to have none, or are of an epoch that has none.

    Args:
        rates: how often each picture of the global batch has none, (B,) in [0, 1]; None: as the settings say.
        pictures: that are trained on.
    """
    if rates is not None:
        draws = replace(draws, dropped=draws.chances < rates)
    every = settings.objective.caption_dropout_every_epochs
    if not every:
        return draws
    dropped = find_dropped(step, settings.batch_size, pictures * settings.repeats, every)
    return replace(draws, dropped=draws.dropped | dropped)


def find_dropped(step: int, batch: int, epoch: int, every: int) -> Tensor:
    """Which pictures of a step's global batch are of an epoch without captions, (B,) bool: every so-many-th one.

    Args:
        epoch: pictures in one.
        every: as `train.objective.caption_dropout_every_epochs`, 1 or more.
    """
    epochs = torch.arange(step * batch, (step + 1) * batch) // epoch
    return (epochs + 1) % every == 0
