"""One optimizer step: the global batch from the step's number, its micro-batches, one update."""

import contextlib
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor

from lorakiln.families.protocol import Family
from lorakiln.lora_files.peft_form import lora_layers
from lorakiln.schema.train import TrainSettings
from lorakiln.train import noise
from lorakiln.train.flat import FlatWeights
from lorakiln.train.latents import Encoded
from lorakiln.train.lr import factor
from lorakiln.train.network_parts import part_names
from lorakiln.train.precision import norm_in_half
from lorakiln.train.readings import Quarters, Readings
from lorakiln.train.schedule import Samples, Schedule


@dataclass(frozen=True)
class Share:
    """The part of the global batch that this process takes.

    Attributes:
        rank, world: this process among all.
        bf16: whether the network computes in bfloat16 (autocast; the adapter's weights stay float32).
    """

    rank: int = 0
    world: int = 1
    bf16: bool = False


class Kiln(pl.LightningModule):
    """Trains the adapter in `family.network`.

    Lightning calls `training_step` once for every optimizer step, with nothing: the step's number alone says what
    is trained on, so there is no loader or sampler whose state a resumed run would have to restore.

    Args:
        family: with the network, its adapter in place, and no other parameter that requires a gradient.
        trained: for each bucket the rows to train on, as `schedule` counts them.

    Attributes:
        first: the step with which this process began; set before training starts.
        watch: told before the first and after every step; see `watch.Watch`.
    """

    def __init__(
        self,
        family: Family,
        encoded: Encoded,
        trained: list[list[int]],
        settings: TrainSettings,
        share: Share,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = family.network
        self.family, self.encoded, self.settings, self.share = family, encoded, settings, share
        self.trained = [torch.tensor(rows, dtype=torch.int64) for rows in trained]
        self.schedule = Schedule([len(rows) for rows in trained], settings.batch_size, encoded.variants, settings.seed)
        trainable = [(n, p) for n, p in family.network.named_parameters() if p.requires_grad]
        self.flat = FlatWeights(trainable, part_names([name for name, _ in trainable], settings.optimizer))
        self.readings = Readings(self.flat.weights.device)
        self.quarters = Quarters(self.flat.weights.device, len(family.alphas_cumprod))
        groups = [{"params": [weights], "name": part} for part, weights in self.flat.parts.items()]
        # On the meta device, where memory is counted, there is none.
        fused = self.flat.weights.device.type != "meta"
        self.optimizer = torch.optim.AdamW(groups, fused=fused, foreach=False, **_optimizer_arguments(settings))
        if share.bf16:
            # Autocast turns what a layer takes into bf16; peft would first make a float32 copy of it, for nothing.
            for layer in lora_layers(family.network).values():
                layer.cast_input_dtype_enabled = False
            norm_in_half(family.network, self.kind)
        self.first = 0
        self.watch = None

    @property
    def kind(self) -> str:
        """The device's, by which autocast goes."""
        return self.flat.weights.device.type

    @property
    def done(self) -> int:
        """Optimizer steps done since the beginning of the run, by this process and those before it."""
        return self.first + self.global_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def train_dataloader(self) -> "Endless":
        return Endless()

    def training_step(self, batch: int, batch_idx: int) -> None:
        step = self.done
        samples = self.schedule(step)
        self.flat.gradients.zero_()
        draws = self._draws(step, samples)
        share = self.settings.batch_size // self.share.world
        start, micro = self.share.rank * share, self.settings.micro_batch or share
        if self.settings.adapter.dropout:
            # torch's own generator serves only the adapter's dropout; one seed for each step and rank.
            torch.manual_seed(noise.mixed(self.settings.seed, step, self.share.rank))
        for at in range(start, start + share, micro):
            loss = self.loss(samples, draws, slice(at, at + micro))
            loss.backward()
            self.flat.gradients[-1] += loss.detach()
        if self.share.world > 1:
            dist.all_reduce(self.flat.gradients)
        self._update(step)

    def loss(self, samples: Samples, draws: noise.Draws, part: slice) -> Tensor:
        """The sum of the part's weighted losses over the size of the global batch, 0-dimensional.

        Divided so, the gradients of all micro-batches and all devices add up to the gradient of the global mean.
        """
        x_0, conditioning = self._inputs(samples, draws, part)
        epsilon, timesteps = (self._move(tensor[part]) for tensor in (draws.epsilon, draws.timesteps))
        prediction_type, objective = self.family.prediction_type, self.settings.objective
        alpha_bar = self.family.alphas_cumprod[timesteps]
        x_t = noise.add_noise(x_0, epsilon, alpha_bar).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            prediction = self.family.predict(x_t, timesteps, conditioning)
        wanted = noise.target(x_0, epsilon, alpha_bar, prediction_type)
        error = noise.error(prediction.float(), wanted, objective)
        weight = noise.weight(alpha_bar, prediction_type, objective.min_snr_gamma)
        self.quarters.push(timesteps, weight * error)
        return (weight * error).sum() / self.settings.batch_size

    def autocast(self) -> contextlib.AbstractContextManager:
        """What the network's calls are wrapped in, training or not."""
        if self.share.bf16:
            return torch.autocast(self.kind, torch.bfloat16)
        return contextlib.nullcontext()

    def on_fit_start(self) -> None:
        self.watch.begin(self)

    def on_train_start(self) -> None:
        self.network.train()
        # Lightning has called zero_grad on its way here.
        self.flat.gather_gradients()

    def on_train_batch_end(self, outputs: object, batch: int, batch_idx: int) -> None:
        self.watch.after_step(self)

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
        tensors = (bucket.mean, bucket.std, *bucket.conditioning.values())
        return [
            bucket.rows[row].file_name
            for row in rows
            if not all(bool(tensor[row].isfinite().all()) for tensor in tensors)
        ]

    def _update(self, step: int) -> None:
        gradients, loss = self.flat.gradients[:-1], self.flat.gradients[-1].clone()
        norm = torch.linalg.vector_norm(gradients)
        if self.settings.max_grad_norm is not None:
            # As torch.nn.utils.clip_grad_norm_ does it.
            gradients.mul_((self.settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.found_inf = self.readings.push(step, loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step, group["name"])
        self.optimizers(use_pl_optimizer=True).step()

    def rate(self, step: int, part: str = "") -> float:
        """The learning rate of the step with this index; of a part that has one of its own, if it is named."""
        peak = self.settings.optimizer.part_lrs.get(part, self.settings.optimizer.lr)
        return peak * factor(step, self.settings.steps, self.settings.scheduler)

    def part_rates(self, step: int) -> dict[str, float]:
        """The learning rates of parts that have their own: {"lr/up_blocks": 2e-4, ...}."""
        return {f"lr/{part}": self.rate(step, part) for part in self.settings.optimizer.part_lrs}

    def _draws(self, step: int, samples: Samples) -> noise.Draws:
        shape = (self.settings.batch_size, *self.encoded.buckets[samples.bucket].mean.shape[2:])
        objective = self.settings.objective
        end = min(objective.max_timestep or len(self.family.alphas_cumprod), len(self.family.alphas_cumprod))
        return noise.draw(self.settings.seed, step, shape, objective, end)

    def _inputs(self, samples: Samples, draws: noise.Draws, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        bucket = self.encoded.buckets[samples.bucket]
        rows = self.trained[samples.bucket][samples.pictures[part]]
        places = torch.stack([rows, torch.from_numpy(samples.variants[part])])
        # In one upload, which does not wait for the device, where the dataset is on it.
        rows, variants = self._move(places) if bucket.mean.device.type != "cpu" else places
        mean, std = (self._move(tensor[rows, variants]).float() for tensor in (bucket.mean, bucket.std))
        x_0 = mean + std * self._move(draws.posterior[part])
        conditioning = {name: self._move(tensor[rows]) for name, tensor in bucket.conditioning.items()}
        if self.settings.objective.caption_dropout:
            dropped = self._move(draws.dropped[part])
            for name, told in conditioning.items():
                if name not in self.encoded.empty:  # not the caption's, such as a size and a crop
                    continue
                mask = dropped.view(-1, *[1] * (told.dim() - 1))
                conditioning[name] = torch.where(mask, self._move(self.encoded.empty[name]), told)
        return x_0, conditioning

    def _move(self, tensor: Tensor) -> Tensor:
        device = self.flat.weights.device
        if tensor.device == device:
            return tensor
        # Only from pinned memory does a copy not wait for the work before it.
        return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class Endless:
    """A loader without end that yields nothing of meaning (Lightning skips None)."""

    def __iter__(self) -> "Endless":
        return self

    def __next__(self) -> int:
        return 0


def _optimizer_arguments(settings: TrainSettings) -> dict[str, object]:
    return settings.optimizer.model_dump(exclude={"kind", "part_lrs"})
