"""What the network is told about pictures beside their noise: embeddings made ahead, or texts that are read now."""

from collections.abc import Callable

import torch
from torch import Tensor

from lorakiln.train.encoded_dataset import Bucket, EncodedDataset
from lorakiln.train.live_text import TextReader

Move = Callable[[Tensor], Tensor]  # a tensor's copy on the device


class Conditioning:
    """Gives a batch's conditioning.

    Args:
        live: gives what texts come to that are drawn or read as training goes on; None: the dataset's embeddings are
            taken.
    """

    def __init__(self, encoded: EncodedDataset, live: TextReader | None, move: Move) -> None:
        self.encoded, self.live, self.move = encoded, live, move

    def gather(
        self, bucket: Bucket, rows: Tensor, variants: Tensor, texts: list[str], dropped: Tensor | None
    ) -> dict[str, Tensor]:
        """The conditioning of some of a bucket's rows, each value with first dimension B.

        Args:
            rows, variants: (B,), which of the bucket's rows, and which variant of each.
            texts: what is read beside each; none: their own captions, as the dataset has them embedded.
            dropped: (B,) bool, beside which nothing is read; None: beside none.
        """
        conditioning = {name: self.move(tensor) for name, tensor in bucket.condition(rows, variants).items()}
        if self.live and texts:
            flags = [False] * len(texts) if dropped is None else dropped.tolist()
            read = self.live.encode(["" if gone else text for text, gone in zip(texts, flags, strict=True)])
            return conditioning | {name: self.move(value) for name, value in read.items()}
        if dropped is None:
            return conditioning
        gone = self.move(dropped)
        # What is not in it is not the caption's, such as a size and a crop.
        for name in conditioning.keys() & self.encoded.empty.keys():
            mask = gone.view(-1, *[1] * (conditioning[name].dim() - 1))
            conditioning[name] = torch.where(mask, self.move(self.encoded.empty[name]), conditioning[name])
        return conditioning

    def gather_plain(self, bucket: Bucket, row: int) -> dict[str, Tensor]:
        """The conditioning of one row's plain picture with its own caption; first dimension 1."""
        texts = [bucket.rows[row].text] if self.live and self.live.trained else []
        # The plain picture is the first of its variants.
        return self.gather(bucket, torch.tensor([row]), torch.tensor([0]), texts, None)
