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
from lorakiln.train.encoded_dataset import EncodedDataset


class DrawnTexts:
    """Texts as a dataset's rules draw them.

    Args:
        encoded: whose index says how captions are drawn.
        trained: for each bucket the rows that are trained on, as the schedule counts them.
        seed: the training's.
    """

    def __init__(self, encoded: EncodedDataset, trained: Sequence[Sequence[int]], seed: int) -> None:
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


class CachedTextEmbeddings:
    """Gives the embeddings that `encode` made ahead of every text that may be drawn, and of the empty one.

    Args:
        encoded: where it did.
    """

    trained = False

    def __init__(self, encoded: EncodedDataset) -> None:
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


def is_live(encoded: EncodedDataset) -> bool:
    """Whether the texts of a dataset are embedded when they are drawn, by text encoders that stay loaded."""
    return encoded.index.captions is not None and encoded.index.captions.mode == "live"


class CaptionDropouts:
    """Which pictures of a step have no caption: as often as is drawn, and of whole epochs.

    Args:
        encoded: whose rows say what is another for their subsets.
        trained: for each bucket its rows that are trained on, as the schedule counts them.
    """

    def __init__(self, encoded: EncodedDataset, trained: Sequence[Tensor], settings: TrainSettings) -> None:
        usual = settings.objective
        rates = [[row.rules.caption_dropout for row in bucket.rows] for bucket in encoded.buckets]
        every = [[row.rules.caption_dropout_every_epochs for row in bucket.rows] for bucket in encoded.buckets]
        self.rates = _choose_own(rates, usual.caption_dropout, trained)
        self.every = _choose_own(every, usual.caption_dropout_every_epochs, trained)
        self.epoch = sum(map(len, trained)) * settings.repeats
        self.drops = any(bool((table > 0).any()) for table in (*self.rates, *self.every))

    def drop(self, draws: Draws, samples: GlobalBatch) -> Draws:
        """A step's draws without the captions of these pictures."""
        rates, every = (table[samples.bucket][samples.pictures] for table in (self.rates, self.every))
        dropped = draws.chances < rates
        return replace(draws, dropped=dropped | find_dropped(samples.first, self.epoch, every))


def counts_epochs(encoded: EncodedDataset, objective: ObjectiveSettings) -> bool:
    """Whether captions are dropped by epochs."""
    rows = (row for bucket in encoded.buckets for row in bucket.rows)
    return objective.caption_dropout_every_epochs > 0 or any(row.rules.caption_dropout_every_epochs for row in rows)


def find_dropped(first: int, epoch: int, every: Tensor) -> Tensor:
    """Which pictures of a step's global batch are of an epoch without captions, (B,) bool: every so-many-th one.

    Args:
        first: pictures that all steps before have shown.
        epoch: pictures in one.
        every: (B,) as `train.objective.caption_dropout_every_epochs`; 0: none is.
    """
    epochs = torch.arange(first, first + len(every)) // epoch
    return (every > 0) & ((epochs + 1) % every.clamp(min=1) == 0)


def _choose_own(own: Sequence[Sequence[float | None]], usual: float, trained: Sequence[Tensor]) -> list[Tensor]:
    """For each bucket of each trained picture its own number, and where it has none the usual, (N,)."""
    dtype = torch.int64 if isinstance(usual, int) else torch.float64
    every = [torch.tensor([usual if one is None else one for one in rows], dtype=dtype) for rows in own]
    # Where memory is counted a bucket has shapes and no rows.
    return [
        numbers[rows] if len(numbers) else torch.full((len(rows),), usual, dtype=dtype)
        for numbers, rows in zip(every, trained, strict=True)
    ]
