"""Seconds and memory that loading a base model takes: ours and diffusers' from_pretrained, part by part.

Models of full size, one number in all places, in half precision are written to a temporary folder (SD 1.5 2.1 GB, SDXL
7 GB) and read once, so that the files are in memory; then each load runs in a process of its own. Memory is the
most that the process ever held beyond what it held after its imports; pages of a mapped file count when touched.

    PYTHONPATH=src python -m benchmarks.load_models [sd15] [sdxl] [--repeats 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lorakiln.families.kinds import list_versions

ARCHITECTURES = {version.name: version.architecture for version in list_versions()}
KINDS = {"sd15": ("sd1", "sd"), "sdxl": ("sdxl", "sdxl")}
ALL = ("vae", "text", "network")
# float16 is what the files have; to bfloat16 every number is converted.
WAYS = {
    "ours, encode's parts (VAE and text)": ("ours", ("vae", "text"), "float16"),
    "ours, train's part (UNet)": ("ours", ("network",), "float16"),
    "ours, train's part, converted": ("ours", ("network",), "bfloat16"),
    "ours, all": ("ours", ALL, "float16"),
    "ours, all, converted": ("ours", ALL, "bfloat16"),
    "diffusers, UNet": ("diffusers", ("network",), "float16"),
    "diffusers, UNet, converted": ("diffusers", ("network",), "bfloat16"),
    "diffusers, the whole pipeline": ("diffusers", ALL, "float16"),
    "diffusers, the same, converted": ("diffusers", ALL, "bfloat16"),
}


def write(kind: str, folder: Path) -> None:
    """A diffusers folder of full size."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    architecture = ARCHITECTURES[KINDS[kind][0]]
    classes = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
    index = {
        "_class_name": architecture.pipeline,
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    for name, config in architecture.parts.items():
        with torch.device("meta"):
            if name in classes:
                part = classes[name].from_config(dict(config))
            else:
                made = CLIPTextModelWithProjection if "Projection" in config["architectures"][0] else CLIPTextModel
                part = made(CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))
        part = part.to(torch.float16).to_empty(device="cpu")
        for tensor in part.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(0.01)
        part.save_pretrained(folder / name, max_shard_size="100GB")
        index[name] = ["diffusers" if name in classes else "transformers", type(part).__name__]
    tiny = CLIPTokenizer.from_pretrained("models/tiny/sd/tokenizer")
    for name in architecture.pads:
        tiny.save_pretrained(folder / name)
        index[name] = ["transformers", "CLIPTokenizer"]
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text(json.dumps(index))
    for file in folder.rglob("*.safetensors"):
        file.read_bytes()


def load(kind: str, folder: Path, way: str) -> None:
    """In a process of its own: print seconds and the peak of memory in MiB."""
    import torch

    tool, parts, precision = WAYS[way]
    dtype = getattr(torch, precision)
    if tool == "ours":
        from lorakiln.families import load_family
        from lorakiln.schema.model import ModelSettings

        model = ModelSettings(
            family=KINDS[kind][1],
            path=str(folder),
            resolution=512,
            bucket_min=256,
            bucket_max=1024,
            bucket_step=64,
            captioner={"path": "x"},
            clip={"path": "x"},
        )
        load_family(model, ())
        action = lambda: load_family(model, parts, dtype=dtype)  # noqa: E731
    else:
        from diffusers import DiffusionPipeline, UNet2DConditionModel

        given = {"torch_dtype": dtype, "use_safetensors": True}
        if parts == ("network",):
            action = lambda: UNet2DConditionModel.from_pretrained(folder / "unet", **given)  # noqa: E731
        else:
            action = lambda: DiffusionPipeline.from_pretrained(folder, **given)  # noqa: E731
    before = most_held()
    began = time.perf_counter()
    kept = action()
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, most_held() - before]))
    del kept


def most_held() -> float:
    """This process's peak of resident memory so far, MiB; getrusage would begin with that of its parent."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measure(kind: str, folder: Path, repeats: int) -> None:
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, results in found.items():
            command = [sys.executable, "-m", "benchmarks.load_models", kind, "--load", way, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 2**20
    print(f"{kind}: {size:.0f} MiB of weights; median of {repeats}")
    for way, results in found.items():
        seconds, memory = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"  {way:38} {seconds:6.2f} s  {memory:8.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--load", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        load(given.kinds[0], given.folder, given.load)
        return
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / kind
            write(kind, folder)
            measure(kind, folder, given.repeats)


if __name__ == "__main__":
    main()
