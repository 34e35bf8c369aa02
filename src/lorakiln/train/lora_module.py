"""One optimizer step: the global batch from the step's number, its micro-batches, one update."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lorakiln.adapters.networks import find_adapted_networks, find_block
from lorakiln.diffusion import random_draws
from lorakiln.diffusion.loss import Loss, Predict
from lorakiln.families.protocol import Family
from lorakiln.families.upload import upload
from lorakiln.optim import find_optimizer
from lorakiln.optim.flat_weights import FlatWeights
from lorakiln.optim.protocol import Averages, read_rate_factor
from lorakiln.optim.schedules import make_factor
from lorakiln.rows import EncodedRow
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.batch_schedule import BatchSchedule, GlobalBatch
from lorakiln.train.caption_draws import CaptionDropouts
from lorakiln.train.conditioning import Conditioning
from lorakiln.train.ema import make_average
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.gated_activations import recompute_geglu
from lorakiln.train.learned_tokens import LearnedTokens
from lorakiln.train.lightning import pl
from lorakiln.train.live_text import CaptionDraws, OwnCaptions, TextReader
from lorakiln.train.loss_scale import LossScale
from lorakiln.train.parameter_groups import make_groups
from lorakiln.train.precision import norm_in_half
from lorakiln.train.share import Share
from lorakiln.train.step_metrics import BlockNorms, QuarterLosses, StepLosses
from lorakiln.train.trained_encoders import TrainedEncoders
from lorakiln.train.validation_split import list_own_batches


class LoraModule(pl.LightningModule):
    """Trains the adapter in `family.network`.

    Lightning calls `training_step` once for every optimizer step, with nothing: the step's number alone says what
    is trained on, so there is no loader or sampler whose state a resumed run would have to restore.

    Args:
        family: with the network, its adapter in place, and no other parameter that requires a gradient.
        trained: for each bucket the rows to train on, as `schedule` counts them.
        live: gives what the texts that are trained on come to; None: the dataset's embeddings are taken. Needed where a
            text encoder carries an adapter.
        captions: what is read then; None: each picture's own caption.

    Attributes:
        scale: of the loss in fp16; else None.
        average: of the weights; None where there is none.
        done: optimizer steps done since the beginning of the run, by this process and those before it.
        owners: of the optimizer's state, in order.
    """

    def __init__(
        self,
        family: Family,
        encoded: EncodedDataset,
        trained: list[list[int]],
        settings: TrainSettings,
        share: Share,
        live: TextReader | None = None,
        captions: CaptionDraws | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = family.network
        self.family, self.encoded, self.settings, self.share = family, encoded, settings, share
        self.trained = [torch.tensor(rows, dtype=torch.int64) for rows in trained]
        self.schedule = BatchSchedule(
            [len(rows) for rows in trained],
            settings.batch_size,
            encoded.variants,
            settings.seed,
            list_own_batches(encoded.buckets, trained),
        )
        self.adapted = find_adapted_networks(family, settings.adapter.kind)
        self.encoders = TrainedEncoders(self.adapted, settings)
        self.tokens = LearnedTokens(family, settings.tokens)
        self.live, self.conditioning = live, Conditioning(encoded, live, self.move)
        self.captions = (captions or OwnCaptions(encoded.buckets, self.trained)) if live else None
        trainable = self.adapted.parameters()
        # What only some kinds of adapters have.
        kind: Any = self.adapted.kind
        ratio: float = getattr(settings.adapter, "rate_ratio", 1.0)
        self.max_norm: float | None = getattr(settings.adapter, "max_norm", None)
        faster = {"faster": kind.learns_faster, "ratio": ratio} if ratio != 1 else {}
        self.groups = make_groups(
            [name for name, _ in trainable],
            settings.optimizer,
            own=self.encoders.rates() | self.tokens.rates(),
            **faster,
        )
        self.flat = FlatWeights(trainable, self.groups.of)
        self.step_losses = StepLosses(self.flat.weights.device)
        self.quarter_losses = QuarterLosses(self.flat.weights.device)
        self.block_norms = BlockNorms(self.flat.spans(find_block))
        self.losses = Loss(family.process, settings.objective)
        self.dropouts = CaptionDropouts(encoded, self.trained, settings)
        self.row_weights = [weigh_rows(bucket.rows, settings.objective) for bucket in encoded.buckets]
        self.optimizer_kind = find_optimizer(settings.optimizer)
        elementwise = self.optimizer_kind.ELEMENTWISE
        self.owners = self.flat.owners(elementwise)
        self.optimizer = self.build_optimizer(self.flat.groups(elementwise))
        self.average = make_average(self.flat.weights.data, settings.ema)
        self.factor = make_factor(settings.scheduler, settings.total_steps)
        self.scale = LossScale(self.flat.weights.device) if share.fp16 else None
        if share.half:
            self.adapted.prepare_for_autocast()
            for network in dict.fromkeys([family.network, *self.adapted]):
                norm_in_half(network, self.kind)
            recompute_geglu(family.network)
        self.done = 0

    @property
    def reads_anew(self) -> bool:
        """Whether prompts come to other embeddings from step to step."""
        return bool(self.encoders.parts or self.tokens)

    @property
    def kind(self) -> str:
        """The device's, by which autocast goes."""
        return self.flat.weights.device.type

    def build_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The settings' optimizer, of these parameter groups."""
        return self.optimizer_kind.build(groups, self.settings.optimizer)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def train_dataloader(self) -> "StepLoader":
        return StepLoader()

    def training_step(self, batch: int, batch_idx: int) -> None:
        step = self.done
        samples = self.schedule(step)
        self.flat.gradients.zero_()
        draws = self.make_draws(step, samples)
        share = len(samples) // self.share.world
        start, micro = self.share.rank * share, self.settings.micro_batch or share
        self.encoders.set_training(self.encoders.learns(step))
        if self.settings.draws:
            # torch's own generator serves only the adapters' dropouts; one seed for each step and rank.
            torch.manual_seed(random_draws.mix_seed(self.settings.seed, step, self.share.rank))
        for at in range(start, start + share, micro):
            loss = self.loss(samples, draws, slice(at, min(at + micro, start + share)))
            (loss * self.scale.value if self.scale else loss).backward()
            self.flat.gradients[-1] += loss.detach()
        if self.share.world > 1:
            dist.all_reduce(self.flat.gradients)
        self._update(step)

    def loss(self, samples: GlobalBatch, draws: random_draws.Draws, part: slice) -> Tensor:
        """The sum of the part's weighted losses over the size of the global batch, 0-dimensional.

        Divided so, the gradients of all micro-batches and all devices add up to the gradient of the global mean.
        """
        x_0, conditioning = self._inputs(samples, draws, part)
        epsilon, times = (self.move(tensor[part]) for tensor in (draws.epsilon, draws.times))
        noising = None if draws.noising is draws.epsilon else self.move(draws.noising[part])
        mask = self._mask(samples, part)
        losses = self.losses(self.predicting(conditioning), x_0, epsilon, times, noising, mask)
        weights = self.row_weights[samples.bucket]
        if weights is not None:
            losses = losses * self.move(weights[self.trained[samples.bucket][samples.pictures[part]]])
        self.quarter_losses.push(self.family.process.locate(times), losses)
        return losses.sum() / len(samples)

    def predicting(self, conditioning: dict[str, Tensor]) -> Predict:
        """The network with this conditioning, (B, ...), as it computes here, training or not."""

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            with self.autocast():
                return self.family.predict(x_t, t, conditioning)

        return predict

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """What the network's calls are wrapped in, training or not."""
        if self.share.half:
            return torch.autocast(self.kind, self.share.half)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Meanwhile the weights are those that the optimizer answers with, which are saved; after it what they were,
        bit by bit. They are the same but for an optimizer that trains others.
        """
        if not isinstance(self.optimizer, Averages):
            yield
            return
        trained = self.flat.weights.data.clone()
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()
            # Back by the way that it came is not quite where it was.
            self.flat.weights.data.copy_(trained)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """With the moving average of the weights, where there is one, in their place: what is validated and drawn."""
        return self.average.put_into(self.flat.weights.data) if self.average else self.answering()

    def on_train_start(self) -> None:
        self.network.train()
        # Lightning has called zero_grad on its way here.
        self.flat.gather_gradients()

    def batch_files(self, step: int) -> tuple[str, list[str]]:
        """The bucket's name and the file names of a step's global batch."""
        samples = self.schedule(step)
        bucket = self.encoded.buckets[samples.bucket]
        rows = self.trained[samples.bucket][samples.pictures].tolist()
        return bucket.name, [bucket.rows[row].file_name for row in rows]

    def broken_files(self, step: int) -> list[str]:
        """The pictures of a step's global batch whose encoded tensors are not finite."""
        samples = self.schedule(step)
        bucket = self.encoded.buckets[samples.bucket]
        rows = dict.fromkeys(self.trained[samples.bucket][samples.pictures].tolist())
        return [
            bucket.rows[row].file_name
            for row in rows
            if not all(bool(tensor[row].isfinite().all()) for tensor in bucket.tensors)
        ]

    def _update(self, step: int) -> None:
        gradients, loss = self.flat.gradients[:-1], self.flat.gradients[-1].clone()
        if self.scale:
            gradients.mul_(self.scale.value.reciprocal())
        norm = torch.linalg.vector_norm(gradients)
        if (step + 1) % self.settings.tracker.log_every == 0 or step + 1 == self.settings.total_steps:
            self.block_norms.push(gradients)
        if self.settings.max_grad_norm is not None:
            # As torch.nn.utils.clip_grad_norm_ does it.
            gradients.mul_((self.settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        overflow = None
        if self.scale:
            # Where nothing is multiplied any more, scaling is not what made them overflow.
            overflow = ~norm.isfinite() & (self.scale.value > 1)
            self.scale.update(overflow)
        bad = self.step_losses.push(step, loss, norm, overflow)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step, group["name"])
        if self.optimizer_kind.MASKED:
            masked: Any = self.optimizer  # torch reads what its types do not know
            masked.found_inf = bad
        with self.encoders.holding(step, self.flat):
            # Another optimizer's step is left out as a whole: its state may be more than tensors that could be masked.
            if self.optimizer_kind.MASKED or not bad:
                optimizer = self.optimizers(use_pl_optimizer=True)
                assert not isinstance(optimizer, list)  # `configure_optimizers` gives one
                optimizer.step()
            if self.max_norm is not None:
                self.adapted.clip_norms(self.max_norm)
            self.tokens.clip_norms()
        if self.average:
            self.average.update(self.flat.weights.data, step + 1)
        # Not Lightning's count, which leaves out what is left out here.
        self.done = step + 1

    def rate(self, step: int, part: str = "") -> float:
        """The learning rate of the step with this index; of a part that has one of its own, if it is named."""
        peak = self.groups.peaks[part] if part else self.settings.optimizer.lr
        if self.encoders.has(part) and not self.encoders.learns(step):
            return 0.0
        return peak * self.factor(step)

    def found_rate(self, step: int) -> dict[str, float]:
        """{"effective_lr": the rate of the step with this index times what the optimizer has found}; {} if it takes the
        rate as it is.
        """
        factor = read_rate_factor(self.optimizer)
        return {} if factor is None else {"effective_lr": factor * self.rate(step)}

    def part_rates(self, step: int) -> dict[str, float]:
        """The learning rates of groups that have their own: {"lr/up_blocks": 2e-4, ...}."""
        return {f"lr/{part}": self.rate(step, part) for part in self.groups.peaks if part}

    def make_draws(self, step: int, samples: GlobalBatch) -> random_draws.Draws:
        """A step's random numbers, with its caption dropouts; on the CPU."""
        shape = (len(samples), *self.encoded.buckets[samples.bucket].mean.shape[2:])
        draws = random_draws.make_draws(self.settings.seed, step, shape, self.settings.objective, self.family.process)
        return self.dropouts.drop(draws, samples)

    def _inputs(self, samples: GlobalBatch, draws: random_draws.Draws, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        bucket = self.encoded.buckets[samples.bucket]
        rows, variants = self._places(samples, part)
        mean, std = (self.move(tensor[rows, variants]).float() for tensor in (bucket.mean, bucket.std))
        x_0 = mean + std * self.move(draws.posterior[part])
        texts = self.captions.texts(self.done, samples, part) if self.captions else []
        dropped = draws.dropped[part] if self.dropouts.drops else None
        learns = self.encoders.learns(self.done) or bool(self.tokens)
        with self.autocast(), torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            conditioning = self.conditioning.gather(bucket, rows, variants, texts, dropped)
        return x_0, conditioning

    def _mask(self, samples: GlobalBatch, part: slice) -> Tensor | None:
        """What of the part's pictures is learned, (B, h, w); None where all of it is."""
        mask = self.encoded.buckets[samples.bucket].mask
        if mask is None or self.settings.objective.unmasked_weight == 1:
            return None
        rows, variants = self._places(samples, part)
        return self.move(mask[rows, variants]).float()

    def _places(self, samples: GlobalBatch, part: slice) -> Tensor:
        """The rows and variants of the part, (2, B), where the bucket's tensors are."""
        bucket = self.encoded.buckets[samples.bucket]
        rows = self.trained[samples.bucket][samples.pictures[part]]
        places = torch.stack([rows, torch.from_numpy(samples.variants[part])])
        # In one upload, which does not wait for the device, where the dataset is on it.
        return self.move(places) if bucket.mean.device.type != "cpu" else places

    def move(self, tensor: Tensor) -> Tensor:
        """A tensor's copy where the weights are; the host does not wait."""
        return upload(tensor, self.flat.weights.device)


def weigh_rows(rows: Sequence[EncodedRow], objective: ObjectiveSettings) -> Tensor | None:
    """What each picture's loss is multiplied by, (N,): prior_loss_weight of a regularisation picture (prior
    preservation, arXiv 2208.12242, section 3.3), else 1; None where it is 1 of all.
    """
    if objective.prior_loss_weight == 1 or not any(row.is_reg for row in rows):
        return None
    return torch.tensor([objective.prior_loss_weight if row.is_reg else 1.0 for row in rows])


class StepLoader:
    """Yields once for every step, without end, and nothing of meaning (Lightning skips None)."""

    def __iter__(self) -> "StepLoader":
        return self

    def __next__(self) -> int:
        return 0
