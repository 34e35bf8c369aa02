"""Whether a training fits its device: told in the plan, and what to change where it does not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lorakiln.schema.train import TrainSettings
from lorakiln.train.memory_count import BESIDE, MemoryCount
from lorakiln.train.precision import choose_half
from lorakiln.train.share import Share

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryFit:
    """What a training was counted to take, and what there is.

    Attributes:
        free: bytes of the device's memory before anything is loaded.
        advice: what to change, where it does not fit.
    """

    memory: MemoryCount
    device: torch.device
    free: int
    advice: str = ""

    @property
    def fits(self) -> bool:
        return self.memory.most <= self.free

    def describe(self) -> str:
        """The plan's line."""
        memory = self.memory
        terms = {"base": memory.base, "adapter and optimizer": memory.adapter, "dataset": memory.dataset}
        if memory.on_gpu:
            terms["CUDA itself"] = BESIDE
        elif memory.rows:
            terms["VAE and text encoders"] = memory.vae + memory.text
        parts = [f"{name} {format_gb(size)}" for name, size in terms.items() if size]
        peaks = [f"activations {format_gb(memory.step)}"]
        if memory.validation:
            peaks.append(f"validation {format_gb(memory.validation)}")
        if memory.rows:
            own = (
                f", text encoders {format_gb(memory.text)}, VAE {format_gb(memory.vae + memory.decode)}"
                if memory.on_gpu
                else ""
            )
            peaks.append(f"samples {format_gb(memory.samples)} ({memory.drawn} at once{own})")
        most = "the most of " * (len(peaks) > 1) + ", ".join(peaks)
        total = f"{format_gb(memory.most)} GB of the {format_gb(self.free)} GB free on {self.device}"
        return f"{total}, counted and not measured: {', '.join(parts)}, and {most}"

    def warning(self) -> str:
        """What is said where it does not fit; else ""."""
        if self.fits:
            return ""
        need, there = format_gb(self.memory.most), format_gb(self.free)
        return f"warning: this may run out of memory: about {need} GB, and {there} GB are free\n  fix: {self.advice}"


def check_memory_fit(
    counted: Callable[[TrainSettings], MemoryCount],
    settings: TrainSettings,
    share: Share,
    device: torch.device,
    dataset: int,
) -> MemoryFit:
    """Count what `settings` take on a device, and what would fit if they do not.

    Args:
        counted: counts what settings take.
        dataset: bytes of the encoded pictures, which go to a GPU that has room for them.
    """
    memory, free = counted(settings), read_free_memory(device)
    # A quarter is the most: what is not counted has to fit, too.
    if memory.on_gpu and dataset <= min(free // 4, free - replace(memory, drawn=1).most):
        memory = replace(memory, dataset=dataset)
    memory_fit = MemoryFit(memory.fitted(free) if memory.on_gpu else memory, device, free)
    return (
        memory_fit
        if memory_fit.fits
        else replace(memory_fit, advice=_advice(memory_fit, _savings(memory_fit, counted, settings, share)))
    )


def _advice(memory_fit: MemoryFit, savings: Iterator[tuple[str, MemoryCount]]) -> str:
    changes: list[str] = []
    for change, memory in savings:
        changes.append(change)
        if memory.most <= memory_fit.free:
            return f"set {' and '.join(changes)}: then it takes {format_gb(memory.most)} GB"
    tried = f"{' and '.join(changes)} is not enough; " if changes else ""
    return f"{tried}take a lower prepare.resolution, a smaller base, or a device with more memory"


def _savings(
    memory_fit: MemoryFit, counted: Callable[[TrainSettings], MemoryCount], settings: TrainSettings, share: Share
) -> Iterator[tuple[str, MemoryCount]]:
    """Changes, each of what is largest by then, and what all of them so far leave."""
    memory, pictures = memory_fit.memory, settings.batch_size // share.world
    micro = settings.micro_batch or pictures
    while True:
        memory = memory.fitted(memory_fit.free) if memory.on_gpu else memory
        if memory.samples > max(memory.step, memory.validation):
            change, memory = "train.samples.every=0", replace(memory, rows=0)
        elif memory.validation > memory.step:
            change, memory = "train.validation.every=0", replace(memory, validation=0)
        elif not settings.trainer.gradient_checkpointing:
            trainer = settings.trainer.model_copy(update={"gradient_checkpointing": True})
            settings = settings.model_copy(update={"trainer": trainer})
            change, memory = "train.trainer.gradient_checkpointing=true", replace(memory, step=counted(settings).step)
        elif micro > 1:
            size, memory = _smaller_step(memory, micro, pictures, memory_fit.free)
            change, micro = f"train.micro_batch={size}", 1
        else:
            break
        yield change, memory.fitted(memory_fit.free) if memory.on_gpu else memory
    if not share.half:
        memory = replace(memory, base=memory.base // 2)
        yield f"train.trainer.precision={choose_half(memory_fit.device)}", memory
    if settings.trainer.quantize == "none":
        yield _smaller_base(memory, settings, counted, memory_fit.free)


def _smaller_step(memory: MemoryCount, micro: int, pictures: int, free: int) -> tuple[int, MemoryCount]:
    """The largest part of `pictures` below `micro` for which there is room, else 1: a step's memory grows with the
    pictures that it takes at once, and with little else.
    """
    sizes = [size for size in range(micro - 1, 0, -1) if pictures % size == 0]
    steps = {size: replace(memory, step=memory.step * size // micro) for size in sizes}
    size = next((size for size, one in steps.items() if one.most <= free), 1)
    return size, steps[size]


def _smaller_base(
    memory: MemoryCount, settings: TrainSettings, counted: Callable[[TrainSettings], MemoryCount], free: int
) -> tuple[str, MemoryCount]:
    """The base in 8 bits, or in 4 if there is no room for that either; what else a step holds is as counted."""
    for kind in ("int8", "nf4"):
        trainer = settings.trainer.model_copy(update={"quantize": kind})
        found = counted(settings.model_copy(update={"trainer": trainer}))
        smaller = replace(memory, base=found.base)
        if smaller.most <= free:
            break
    return f"train.trainer.quantize={kind}", smaller


def read_free_memory(device: torch.device) -> int:
    """Bytes that a process may still take: of the GPU's memory, else of the machine's or of this process's group."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    free = [int(lines["MemAvailable"].split()[0]) * 1024]
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        given_up = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())["inactive_file"]
        free += [int(limit) - int(used) + int(given_up)] if limit != "max" else []
    except (OSError, KeyError):  # no group of its own, or the older kind
        pass
    return min(free)


def format_gb(size: float) -> str:
    """Bytes in GB, 10^9 of them: "12.3", "0.46", "0.023"."""
    digits = 1 if size >= 1e9 else 2 if size >= 1e8 else 3
    return f"{size / 1e9:.{digits}f}"
