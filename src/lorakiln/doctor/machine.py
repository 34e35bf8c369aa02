"""The machine: which device torch can use, in which precision, with which attention; disk and memory.

`check_torch` touches CUDA, so it runs in a process of its own, like the trials.
"""

import platform
import re
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lorakiln import __version__
from lorakiln.artefacts.disk import format_size
from lorakiln.console import gpu
from lorakiln.console.gpu import choose_device
from lorakiln.doctor.check import Check
from lorakiln.train.environment import read_device_name
from lorakiln.train.memory_fit import read_free_memory
from lorakiln.train.precision import HALVES, choose_precision
from lorakiln.train.results import LIBRARIES

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
# (B, heads, L, D) of a head as wide as Stable Diffusion 1.5's first, 40, and its largest sibling's, 64.
SHAPES = ((2, 8, 256, 40), (2, 10, 256, 64))
LEAST_DISK = 2**30  # bytes: a trial of the tiny family takes 50 MB, of the largest 300 MB beside its base


def list_software() -> Check:
    """Versions; nothing is judged, since the package's requirements were met when it was installed."""
    libraries = {name: version(name) for name in LIBRARIES}
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
    if torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    facts = {"lorakiln": __version__, "python": platform.python_version(), "system": platform.system(), "build": build}
    told = f"lorakiln {__version__}, torch {torch.__version__} ({build}), Python {platform.python_version()}"
    return Check("software", "ok", told, "", {**facts, "libraries": libraries})


def check_torch(left_alone: bool) -> list[dict[str, Any]]:
    """The checks of device, precision and attention, as dicts.

    Args:
        left_alone: whether this process hides the GPUs from itself, as it was told to.
    """
    found = [check_device(left_alone)]
    if found[0].status != "wrong":
        chosen = choose_device()
        found += [check_precision(chosen), check_attention(chosen)]
    return [vars(one) for one in found]


def check_device(left_alone: bool = False) -> Check:
    """Whether torch can use the GPU that the driver shows, shown by a product that it computes there."""
    driver = _driver()
    gpus: list[dict[str, Any]] = []
    facts = {
        "driver": driver,
        "gpus": gpus,
        "processor": read_device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
    }
    if why := gpu.explain_unusable_gpu():
        what, _, fix = why.partition("; ")
        return Check("device", "wrong", what, fix, facts)
    if not torch.cuda.is_available():
        processor = f"{facts['processor']}, {facts['threads']} threads"
        if driver and left_alone:
            return Check("device", "ok", f"the CPU ({processor}); the GPU is left alone (--cpu)", "", facts)
        if driver:
            what = f"the CPU ({processor}); CUDA_VISIBLE_DEVICES hides the GPU"
            return Check("device", "warning", what, "unset CUDA_VISIBLE_DEVICES to use the GPU", facts)
        return Check("device", "ok", f"the CPU ({processor}); no NVIDIA driver is here", "", facts)
    for number in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        gpus.append({"name": one.name, "capability": f"{one.major}.{one.minor}", "memory": total, "free": free})
    told = ", ".join(f"{one['name']} ({format_size(one['free'])} of {format_size(one['memory'])} free)" for one in gpus)
    if broken := _cannot_compute():
        return Check("device", "wrong", f"{told}: {broken}", f"install another build: {gpu.INSTALL}", facts)
    return Check("device", "ok", f"{told}; driver {driver or 'of unknown version'}", "", facts)


def _driver() -> str | None:
    """The version of NVIDIA's driver in the kernel; None if there is none."""
    try:
        text = gpu.NVIDIA.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module\b.*?\b(\d+\.\d[\d.]*)", text)
    return found[1] if found else "unknown"


def _cannot_compute() -> str:
    """Why a GPU that torch sees computes nothing, or something wrong; "" if it does as the CPU does."""
    given = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for number in range(torch.cuda.device_count()):
        try:
            found = (given.to(number, torch.float32) @ given.to(number, torch.float32)).to("cpu", torch.float64)
        except RuntimeError as error:  # "no kernel image is available": this build has none for so old or new a GPU
            return f"torch {torch.__version__} cannot compute on it ({str(error).splitlines()[0]})"
        if (found - given @ given).norm() > 1e-2 * (given @ given).norm():
            return "a product of two matrices comes out wrong on it: the GPU, its memory or its driver is faulty"
    return ""


def check_precision(chosen: torch.device) -> Check:
    """What `precision: auto` keeps the frozen base in here."""
    base = choose_precision("auto", chosen)
    facts = {"base": base, "adapter": "fp32"}
    if base == "fp16":
        what = "the base is fp16, with loss scaling: this GPU has no bf16 (compute capability below 8.0)"
        fix = "none but another GPU; where pictures come out black, train with train.trainer.precision=fp32"
        return Check("precision", "warning", what, fix, facts)
    return Check("precision", "ok", f"base {facts['base']}, adapter fp32 (train.trainer.precision=auto)", "", facts)


def check_attention(chosen: torch.device) -> Check:
    """Which kernels of torch's attention work here, forwards and backwards, and give what the plain formula gives."""
    dtype = HALVES.get(choose_precision("auto", chosen), torch.float32)
    found = {name: _attends(backend, chosen, dtype) for name, backend in BACKENDS.items()}
    facts = {"dtype": str(dtype).removeprefix("torch."), "backends": found}
    usable = [name for name, how in found.items() if how == "usable"]
    if odd := [name for name, how in found.items() if how == "wrong numbers"]:
        fix = "update the driver, or install another version of torch"
        return Check("attention", "wrong", f"wrong numbers from: {', '.join(odd)}", fix, facts)
    told = f"usable: {', '.join(usable) or 'none'}; not here: {', '.join(sorted(set(found) - set(usable))) or 'none'}"
    if chosen.type == "cuda" and not {"flash", "memory-efficient", "cuDNN"} & set(usable):
        fix = "install a build of torch that has them, or take fewer pixels: the whole matrix is held in memory"
        return Check("attention", "warning", told, fix, facts)
    return Check("attention", "ok" if usable else "wrong", told, "", facts)


def _attends(backend: SDPBackend, chosen: torch.device, dtype: torch.dtype) -> str:
    """ "usable", "not here", or "wrong numbers": away from the formula by more than its precision explains."""
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        exact = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
        query, key, value = exact
        wanted = (query @ key.mT / shape[-1] ** 0.5).softmax(-1) @ value
        wanted.square().sum().backward()
        given = [one.detach().to(chosen, dtype).requires_grad_() for one in exact]
        try:
            with sdpa_kernel(backend), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # each reason why a kernel does not fit
                made = F.scaled_dot_product_attention(given[0], given[1], given[2])
                made.float().square().sum().backward()
        except RuntimeError:
            return "not here"
        pairs = [(made, wanted), *((one.grad, other.grad) for one, other in zip(given, exact, strict=True))]
        if any(_difference(one, other) > 0.05 for one, other in pairs):
            return "wrong numbers"
    return "usable"


@torch.no_grad()
def _difference(found: torch.Tensor | None, wanted: torch.Tensor | None) -> float:
    assert found is not None and wanted is not None
    return float((found.to("cpu", torch.float64) - wanted).norm() / wanted.norm())


def check_disk(folder: Path, needed: int = 0) -> Check:
    """Whether the temporary folder's disk has room for the trials.

    Args:
        needed: bytes, beside what the trials write.
    """
    free, needed = shutil.disk_usage(folder).free, needed + LEAST_DISK
    told, facts = f"{format_size(free)} free in the temporary folder", {"free": free, "needed": needed}
    if free < needed:
        fix = "free disk space, or set TMPDIR to a folder on another disk"
        return Check("disk", "wrong", f"{told}, about {format_size(needed)} are needed", fix, facts)
    return Check("disk", "ok", told, "", facts)


def check_memory(needed: int = 0) -> Check:
    """Whether the machine's memory holds what is loaded through it.

    Args:
        needed: bytes; 0: not known.
    """
    free = read_free_memory(torch.device("cpu"))
    told, facts = f"{format_size(free)} of the machine's memory free", {"free": free, "needed": needed}
    if free < needed:
        fix = "end other programs, or take a smaller base (tiny, or --random sd15)"
        return Check("memory", "wrong", f"{told}, about {format_size(needed)} are needed", fix, facts)
    return Check("memory", "ok", told, "", facts)
