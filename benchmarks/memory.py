"""What fits which GPU: the peaks of the product's own code for full-size bases, counted and not measured.

Training steps, drawing and encoding are run through on tensors that have shapes and no numbers (lorakiln/families/
peak.py), in the precision and with autocast's rules of a GPU; no model is needed, nothing is computed. A minute or two.

    PYTHONPATH=src python -m benchmarks.memory            # the tables
    PYTHONPATH=src python -m benchmarks.memory --write    # into docs/memory.md
"""

import argparse
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.rounds import table
from lorakiln.families.borrowed_configs import NOISE
from lorakiln.families.kinds import list_versions
from lorakiln.families.protocol import Family, choose_text_dtype
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.families.sdxl.model import StableDiffusionXL
from lorakiln.families.tensor_memory import META, GpuRules, Peak, count_held_bytes
from lorakiln.schema.train import TrainSettings
from lorakiln.train.memory_count import BESIDE, CountRequest, MemoryCount, count_memory
from lorakiln.train.share import Share

GPU = torch.device("cuda")
ARCHITECTURES = {version.name: version.architecture for version in list_versions()}
SIDES = {"sd1": 512, "sd2": 768, "sdxl": 1024}
TITLES = {"sd1": "SD 1.5, 512 pixels", "sdxl": "SDXL, 1024 pixels"}
CARDS = (6, 8, 12, 16, 24)
USABLE = 0.96  # of a card's memory; the driver keeps the rest
DOCS = Path("docs/memory.md")
BEGIN, END = "<!-- made by benchmarks.memory: begin -->", "<!-- made by benchmarks.memory: end -->"


def base_of(kind: str, dtype: torch.dtype = torch.bfloat16, device: torch.device = GPU) -> Family:
    """A full-size base of an architecture, without its parts."""
    files: Any = SimpleNamespace(
        facts={"prediction_type": "epsilon"},
        configs={"scheduler": NOISE, **ARCHITECTURES[kind].parts},
        scheduler_file=Path("scheduler_config.json"),
    )
    made = StableDiffusionXL if kind == "sdxl" else StableDiffusion
    family = made(files, torch.device("cpu"), dtype, choose_text_dtype(device) or dtype)
    family.device = device
    return family


def make_conditioning(kind: str) -> dict[str, torch.Tensor]:
    """The conditioning of one picture."""
    unet = ARCHITECTURES[kind].parts["unet"]
    conditioning = {"prompt_embeds": torch.empty(1, 77, unet["cross_attention_dim"], device=META)}
    if kind == "sdxl":
        conditioning |= {"pooled_embeds": torch.empty(1, 1280, device=META), "time_ids": torch.empty(1, 6, device=META)}
    return conditioning


def settings_of(
    batch: int, checkpointing: bool, rank: int = 16, targets: str = "attention", quantize: str = "none"
) -> TrainSettings:
    """The defaults, as far as they take memory."""
    return TrainSettings.model_validate(
        {
            "steps": 100,
            "batch_size": batch,
            "adapter": {"rank": rank, "alpha": float(rank), "targets": targets},
            "objective": {},
            "optimizer": {"kind": "adamw", "lr": 1e-4},
            "scheduler": {"kind": "constant"},
            "trainer": {"accelerator": "gpu", "gradient_checkpointing": checkpointing, "quantize": quantize},
            "tracker": {"kind": "none"},
            "validation": {"every": 100},
            "samples": {"every": 100},
        }
    )


@cache
def training(kind: str, batch: int, checkpointing: bool, bf16: bool = True, **settings: Any) -> MemoryCount:
    """A training at the family's size, with validation and samples."""
    family = base_of(kind, torch.bfloat16 if bf16 else torch.float32)
    shape = family.latent_shape(SIDES[kind], SIDES[kind])
    wanted = settings_of(batch, checkpointing, **settings)
    return count_memory(
        CountRequest(family, wanted, Share(bf16=bf16), shape, make_conditioning(kind), shape, validates=True)
    )


def encoding(kind: str) -> int:
    """The peak of `encode`: single precision but for the text encoders, one picture at a time."""
    side = SIDES[kind]
    hollow = base_of(kind, torch.float32).hollow(("vae", "text"))
    with Peak() as peak, GpuRules():
        peak.hold(hollow.vae.parameters())
        hollow.encode_pictures(torch.empty(1, 3, side, side, device=META))
    return peak.most + _texts(hollow) + BESIDE


def drawing(kind: str, at_once: int) -> tuple[int, int]:
    """The peaks of `evaluate` and `generate`, fp16: with all parts on the device, and where idle ones leave it."""
    side = SIDES[kind]
    hollow = base_of(kind, torch.float16).hollow(("vae", "text", "network"))
    shape = hollow.latent_shape(side, side)
    conditioning = {
        name: value.expand(2 * at_once, *value.shape[1:]) for name, value in make_conditioning(kind).items()
    }
    network, vae, texts = count_held_bytes(hollow.network), count_held_bytes(hollow.vae), _texts(hollow)
    with Peak() as peak, GpuRules(), torch.no_grad():
        peak.hold([*hollow.network.parameters(), *hollow.vae.parameters()])
        noisy = torch.empty(2 * at_once, *shape, device=META)
        before = peak.again()
        hollow.predict(noisy, torch.zeros(len(noisy), dtype=torch.int64), conditioning)
        predicting = peak.most - before
        peak.again()
        hollow.decode_latents(noisy[:1])
        decoding = peak.most - before
    together = network + vae + texts + max(predicting, decoding)
    return together + BESIDE, network + max(predicting, vae + decoding, texts) + BESIDE


def _texts(hollow: Family) -> int:
    return sum(count_held_bytes(part) for name, part in hollow.adaptable().items() if name != "unet")


@dataclass(frozen=True)
class Row:
    """A training's line in the table."""

    title: str
    memory: MemoryCount

    @property
    def cells(self) -> list[str]:
        one = self.memory
        few, alone = replace(one, drawn=1), replace(one, rows=0)
        numbers = (one.base, one.adapter, one.step, one.validation, few.samples, one.samples)
        return [self.title, *map(gb, numbers), gb(alone.most), gb(few.most), card_for(few.most)]


def rows_of(kind: str) -> list[Row]:
    batches = {"sd1": (1, 4, 8), "sdxl": (1, 2, 4)}[kind]
    rows = [
        Row(f"batch {batch}{', checkpointing' * checkpointing}", training(kind, batch, checkpointing))
        for checkpointing in (False, True)
        for batch in batches
    ]
    first = batches[0]
    wide = training(kind, first, True, rank=64, targets="kohya")
    rows.append(Row(f"batch {first}, checkpointing, rank 64, kohya's targets", wide))
    rows.append(Row(f"batch {first}, checkpointing, fp32", training(kind, first, True, bf16=False)))
    rows += [
        Row(f"batch {first}, checkpointing, {title}", training(kind, first, True, quantize=quantize))
        for quantize, title in (("int8", "int8 or fp8"), ("nf4", "nf4"))
    ]
    return rows


def largest(kind: str, checkpointing: bool, card: int, samples: bool) -> int:
    """Pictures that a step may take at once on a card of so many GB, with samples drawn one by one; 0: none."""
    one, two = (training(kind, batch, checkpointing) for batch in (1, 2))
    one, batch = replace(one, drawn=1, rows=one.rows * samples), 0
    while replace(one, step=one.step + batch * (two.step - one.step)).most <= usable(card):
        batch += 1
    return batch


def usable(card: int) -> float:
    """Bytes of a card that is sold with so many GB, which are GiB."""
    return card * 2**30 * USABLE


def card_for(size: int) -> str:
    return next((f"{card} GB" for card in CARDS if size <= usable(card)), f"more than {CARDS[-1]} GB")


def gb(size: float) -> str:
    return f"{size / 1e9:.2f}" if size < 1e9 else f"{size / 1e9:.1f}"


def cards() -> list[str]:
    head = ["GPU", *(f"{title.partition(',')[0]}{how}" for title in TITLES.values() for how in ("", ", checkpointing"))]
    rows = []
    for card in CARDS:
        cells = [_largest_told(kind, checkpointing, card) for kind in TITLES for checkpointing in (False, True)]
        rows.append([f"{card} GB", *cells])
    return table(head, rows)


def _largest_told(kind: str, checkpointing: bool, card: int) -> str:
    if batch := largest(kind, checkpointing, card, samples=True):
        return str(batch)
    batch = largest(kind, checkpointing, card, samples=False)
    return f"{batch} without samples" if batch else "none"


def stages() -> list[str]:
    rows = []
    for kind, title in TITLES.items():
        (eight, eight_tight), (_, one_tight) = drawing(kind, 8), drawing(kind, 1)
        sizes = (encoding(kind), eight, eight_tight, one_tight)
        rows.append([title, *(f"{gb(size)} ({card_for(size)})" for size in sizes)])
    return table(["", "encode", "drawing 8 at once", "8, idle parts off the GPU", "1, idle parts off the GPU"], rows)


def page() -> str:
    lines = ["### Pictures that a step takes at once", "", *cards(), ""]
    head = ["", "base", "adapter and optimizer", "step", "validation", "samples, 1 at once", "8 at once"]
    head += ["peak without samples", "peak with samples", "fits"]
    for kind, title in TITLES.items():
        lines += [f"### Training {title}", "", *table(head, [row.cells for row in rows_of(kind)]), ""]
    return "\n".join([*lines, "### The other stages", "", *stages()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"into {DOCS}")
    made = page()
    if not parser.parse_args().write:
        print(made)
        return
    text = DOCS.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    DOCS.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
