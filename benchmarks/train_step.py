"""How long an optimizer step takes, ours against the usual loop, in one run on one machine.

The usual loop is what trainers' example scripts do: peft's LoRA on the same network, cached latents and embeddings,
torch.optim.AdamW as it comes, clip_grad_norm_ over the adapter's tensors, loss.item() after every step. Ours is the
whole `train` through Lightning. Blocks of steps alternate, so that what else the machine does meets both alike.

    make demo && PYTHONPATH=src python -m benchmarks.train_step [--steps 40] [--blocks 5] [--threads 1]

Prints milliseconds per step (median over the blocks) and the ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig

from lorakiln.adapters.targets import list_target_names
from lorakiln.families import load_family
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.train.adapting import put_adapter
from lorakiln.train.latents import Encoded
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.share import Share
from lorakiln.train.validation_split import hold_out
from pipelines.compose import compose_config


def ours(encoded: Encoded, settings: TrainSettings, model: ModelSettings) -> Callable[[int], None]:
    """Runs so many steps through Lightning."""
    import lightning.pytorch as pl

    from lorakiln.train.devices import make_trainer

    family = load_family(model, ("network",))
    put_adapter(family, settings.adapter, list_target_names(family, settings.adapter.targets), settings.seed)
    module = LoraModule(family, encoded, hold_out(encoded.buckets, settings.validation).trained, settings, Share())

    class StopAfter(pl.Callback):
        """Stops after a number of steps, and reads the losses as the real callback does."""

        def __init__(self, steps: int) -> None:
            self.end = module.done + steps

        def on_train_batch_end(
            self, trainer: pl.Trainer, module: LoraModule, outputs: object, batch: object, batch_idx: int
        ) -> None:
            if module.done % settings.tracker.log_every == 0:
                module.readings.read()
            trainer.should_stop = module.done >= self.end

    def run(steps: int) -> None:
        trainer: pl.Trainer = make_trainer(settings)
        trainer.callbacks.append(StopAfter(steps))
        trainer.fit(module)

    return run


def usual(encoded: Encoded, settings: TrainSettings, model: ModelSettings) -> Callable[[int], None]:
    """Runs so many steps of the plain loop."""
    family = load_family(model, ("network",))
    network, adapter = family.network.train(), settings.adapter
    targets = list_target_names(family, adapter.targets)
    network.add_adapter(LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=targets))
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.optimizer.lr)
    largest = max(encoded.buckets, key=lambda bucket: len(bucket.rows))

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(len(largest.rows), (settings.batch_size,))
            mean, std = largest.mean[rows, 0], largest.std[rows, 0]
            latents = mean + std * torch.randn_like(mean)
            noise, times = torch.randn_like(latents), torch.randint(1000, (settings.batch_size,))
            kept = family.process.alphas_cumprod[times].view(-1, 1, 1, 1)
            noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
            prediction = network(noisy, times, largest.conditioning["prompt_embeds"][rows]).sample
            loss = torch.nn.functional.mse_loss(prediction, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoded", type=Path, default=Path("outputs/encoded"))
    parser.add_argument("--steps", type=int, default=40, help="in a block")
    parser.add_argument("--blocks", type=int, default=5, help="of each kind, after one to warm up")
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    config = check_whole(compose_config(["+experiment=demo_style"]))
    encoded = Encoded(wanted.encoded)
    runs = {kind.__name__: kind(encoded, config.train, config.model) for kind in (ours, usual)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for block in range(wanted.blocks + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run(wanted.steps)
            if block:
                times[name].append((time.perf_counter() - began) / wanted.steps * 1000)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        low, high = min(times[name]), max(times[name])
        print(f"{name:6} {median:7.1f} ms a step ({low:.1f} to {high:.1f}), {1000 / median:.1f} steps/s")
    ratio = medians["usual"] / medians["ours"]
    print(f"usual / ours: {ratio:.2f}  (batch {config.train.batch_size}, {wanted.threads} threads)")


if __name__ == "__main__":
    main()
