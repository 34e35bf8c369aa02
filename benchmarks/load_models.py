"""Seconds and memory that loading a base model takes: ours and diffusers' from_pretrained, part by part.

    python -m benchmarks.load_models [sd15] [sdxl] [--rounds 5]
    python -m benchmarks.load_models tiny               # the embedded model: says little

Models of full size, one number in all places, in half precision are written to a temporary folder (SD 1.5 2.1 GB, SDXL
7 GB) and read once, so that the files are in memory; then each load runs in a process of its own, the ways of loading
in turns. Memory is the most that the process ever held beyond what it held after its imports; pages of a mapped file
count when touched.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.command import begin_result, make_parser, working_folder
from benchmarks.rounds import ROOT, Result, compare_rounds, interleave, run_measured, spread

KINDS = {"sd15": ("sd1", "sd"), "sdxl": ("sdxl", "sdxl"), "tiny": ("", "sd")}
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
# What each of ours is set against.
AGAINST = {
    "ours, train's part (UNet)": "diffusers, UNet",
    "ours, train's part, converted": "diffusers, UNet, converted",
    "ours, all": "diffusers, the whole pipeline",
    "ours, all, converted": "diffusers, the same, converted",
}
HEAD = ["base", "what", "CPU s", "diffusers / ours", "s", "MiB", "diffusers / ours"]


def write(kind: str, folder: Path) -> None:
    """A diffusers folder of full size."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    architecture = find_architecture(kind)
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
    tiny = CLIPTokenizer.from_pretrained(ROOT / "models/tiny/sd/tokenizer")
    for name in architecture.pads:
        tiny.save_pretrained(folder / name)
        index[name] = ["transformers", "CLIPTokenizer"]
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text(json.dumps(index))
    for file in folder.rglob("*.safetensors"):
        file.read_bytes()


def find_architecture(kind: str) -> Any:
    """The parts and their sizes of a base of `KINDS` but tiny."""
    from lorakiln.families.kinds import list_versions

    # What predicts v is a version of its own, of the same sizes.
    return next(version.architecture for version in list_versions() if version.name == KINDS[kind][0])


def load(kind: str, folder: Path, way: str) -> None:
    """In a process of its own: print seconds, CPU seconds and the peak of memory in MiB."""
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
    began, cpu = time.perf_counter(), time.process_time()
    kept = action()
    taken = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu, "held": most_held() - before}
    print(json.dumps(taken))
    del kept


def most_held() -> float:
    """This process's peak of resident memory so far, MiB; getrusage would begin with that of its parent."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measure(kind: str, folder: Path, work: Path, rounds: range, result: Result) -> None:
    """Record a base's measurements."""
    for number, way in interleave(list(WAYS), rounds):
        command = [sys.executable, "-m", "benchmarks.load_models", kind, "--load", way, "--folder", folder]
        log = work / "load.log"
        cost = run_measured(command, ROOT, log)
        taken = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        loading = {f"load_{name}": round(value, 3) for name, value in taken.items()}
        result.add(cost, base=kind, way=way, round=number, **loading)


def make_rows(records: list[dict]) -> list[list[str]]:
    """The table's rows, by base and way."""
    found: dict[tuple[str, str], dict[int, dict]] = {}
    for record in records:
        found.setdefault((record["base"], record["way"]), {})[record["round"]] = record
    rows = []
    for (kind, way), rounds in found.items():
        theirs = found.get((kind, AGAINST.get(way, "")), {})

        def column(name: str, of: dict[int, dict]) -> dict[int, float]:
            return {one: record[f"load_{name}"] for one, record in of.items()}

        ratio = {name: spread(compare_rounds(column(name, rounds), column(name, theirs))) for name in ("cpu", "held")}
        cpu, wall, held = (list(column(name, rounds).values()) for name in ("cpu", "wall", "held"))
        rows.append([kind, way, spread(cpu), ratio["cpu"], spread(wall), spread(held, 0), ratio["held"]])
    return rows


def main() -> None:
    parser = make_parser(__doc__, "load_models")
    parser.add_argument("kinds", nargs="*", default=["sd15", "sdxl"], help="sd15, sdxl, tiny [sd15 sdxl]")
    parser.add_argument("--load", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := sorted(set(given.kinds) - set(KINDS)):
        parser.error(f"no such base: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if given.load:
        load(given.kinds[0], given.folder, given.load)
        return
    if given.write:
        write(given.kinds[0], given.write)
        return
    result = begin_result(given, "load_models", {"bases": " and ".join(given.kinds)}, HEAD)
    rounds = result.list_rounds(given.rounds)
    for kind in given.kinds:
        with working_folder(given) as work:
            folder = ROOT / "models" / "tiny" / "sd" if kind == "tiny" else work / kind
            if kind != "tiny":
                writing = [sys.executable, "-m", "benchmarks.load_models", kind, "--write", folder]
                run_measured(writing, ROOT, work / "write.log")
            measure(kind, folder, work, rounds, result)
    result.rows = make_rows(result.records)
    result.write(given.out)


if __name__ == "__main__":
    main()
