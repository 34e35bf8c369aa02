"""Other programs that train the same LoRA: sd-scripts and diffusers' script, each from a checkout, in its own Python.

Each gets the pictures and captions that `prepare` and `caption` left, the base's folder, and the same batch, steps and
seed; what speeds it up without a change of the result is on (cached latents, SDPA, no processes that load pictures).
"""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rounds import ROOT

SIDE = 64  # pixels


@dataclass(frozen=True)
class Started:
    """A program with its arguments, and the folder in which it leaves one LoRA file."""

    command: list[str]
    folder: Path


# Of a number of steps and a seed.
Program = Callable[[int, int], Started]


def read_header(file: Path) -> dict[str, dict]:
    """What a safetensors file says of its tensors, by name."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        return json.loads(opened.read(length))


def count_weights(lora: Path) -> int:
    """How many numbers a LoRA file holds that were trained: alphas are not."""
    total = 0
    for name, tensor in read_header(lora).items():
        if name != "__metadata__" and not name.endswith("alpha"):
            count = 1
            for side in tensor["shape"]:
                count *= side
            total += count
    return total


def copy_for_old_transformers(model: Path, folder: Path) -> Path:
    """A base whose text encoder has the level "text_model" that transformers 5 has dropped from its names; an older one
    would begin with random weights, without a word."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    file = folder / "text_encoder" / "model.safetensors"
    header = read_header(file)
    data = file.read_bytes()
    data = data[8 + struct.unpack("<Q", data[:8])[0] :]
    level = "text_model."
    plain = {name if name.startswith((level, "__")) else level + name: value for name, value in header.items()}
    text = json.dumps(plain).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def read_captions(captioned: Path) -> list[tuple[Path, str]]:
    """Pictures and their captions, as `caption` left them."""
    rows = [json.loads(line) for line in (captioned / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(captioned / row["file_name"], row["text"]) for row in rows]


def find_python(code: Path, given: Path | None) -> Path:
    """The one to run a checkout with: what was given, or the environment in it."""
    places = [given] if given else [code / name / "bin" / "python" for name in ("venv", ".venv")]
    found = next((place.absolute() for place in places if place.exists()), None)
    if found is None:
        sys.exit(f"{places[0]}: no such Python\n  fix: make the program's environment there, or name it by --*-python")
    return found


def describe_checkout(code: Path) -> str:
    """Its commit, if git knows; "as given" of a folder without a history."""
    command = ["git", "-C", str(code), "log", "-1", "--format=%h of %cs"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 and (code / ".git").exists() else "as given"


def use_sd_scripts(code: Path, python: Path | None, model: Path, captioned: Path, folder: Path, batch: int) -> Program:
    """sd-scripts' train_network.py; its text encoder runs in each step, for it keeps no embeddings of SD 1.x."""
    python, code = find_python(code, python), code.resolve()
    base = copy_for_old_transformers(model, folder / "model")
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for number, (picture, caption) in enumerate(read_captions(captioned)):
        shutil.copy(picture, pictures / f"{number:04}.png")
        (pictures / f"{number:04}.txt").write_text(caption, encoding="utf-8")

    def start(steps: int, seed: int) -> Started:
        # An epoch that outlasts the run: between two of them it stops for a moment.
        repeats = steps * batch // max(1, len(list(pictures.glob("*.png")))) + 1
        subset = {"image_dir": str(pictures), "num_repeats": repeats, "caption_extension": ".txt"}
        dataset = {"resolution": SIDE, "batch_size": batch, "enable_bucket": False, "subsets": [subset]}
        config = folder / f"dataset-{steps}.json"
        config.write_text(json.dumps({"datasets": [dataset]}), encoding="utf-8")
        words = [
            f"--pretrained_model_name_or_path={base}",
            f"--dataset_config={config}",
            f"--output_dir={folder / 'out'}",
            "--output_name=lora",
            "--save_model_as=safetensors",
            "--network_module=networks.lora",
            "--network_dim=16",
            "--network_alpha=16",
            "--network_train_unet_only",
            "--optimizer_type=AdamW",
            "--learning_rate=1e-4",
            "--lr_scheduler=constant",
            "--max_grad_norm=1.0",
            f"--max_train_steps={steps}",
            f"--seed={seed}",
            "--mixed_precision=no",
            "--cache_latents",
            "--vae_batch_size=8",
            "--highvram",
            "--sdpa",
            "--max_data_loader_n_workers=0",
        ]
        shim = ROOT / "benchmarks" / "sd_scripts_small.py"
        command = [str(python), str(shim), str(code), str(base), *words]
        return Started(command, folder / "out")

    return start


def use_diffusers(code: Path, python: Path | None, model: Path, captioned: Path, folder: Path, batch: int) -> Program:
    """diffusers' train_text_to_image_lora.py, of its examples, as it is: it keeps neither latents nor embeddings."""
    python = python.absolute() if python else Path(sys.executable)
    script = code.resolve() / "examples" / "text_to_image" / "train_text_to_image_lora.py"
    if not script.exists():
        sys.exit(f"{script}: not there\n  fix: give --diffusers a checkout of diffusers")
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (picture, caption) in enumerate(read_captions(captioned)):
        shutil.copy(picture, pictures / f"{number:04}.png")
        lines.append(json.dumps({"file_name": f"{number:04}.png", "text": caption}))
    (pictures / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(steps: int, seed: int) -> Started:
        out = folder / "out"
        words = [
            f"--pretrained_model_name_or_path={model.resolve()}",
            f"--train_data_dir={pictures}",
            f"--output_dir={out}",
            f"--resolution={SIDE}",
            f"--train_batch_size={batch}",
            "--rank=16",
            "--learning_rate=1e-4",
            "--lr_scheduler=constant",
            "--lr_warmup_steps=0",
            f"--max_train_steps={steps}",
            f"--seed={seed}",
            "--mixed_precision=no",
            "--dataloader_num_workers=0",
            f"--checkpointing_steps={10**9}",
        ]
        return Started([str(python), str(script), *words], out)

    return start
