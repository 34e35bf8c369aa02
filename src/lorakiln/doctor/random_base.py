"""A base model of an architecture's true shape with random weights, in diffusers' layout: it learns and draws like a
real one, for whoever has none at hand, and draws noise.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.artefacts.json_files import write_json, write_text
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.families.borrowed_configs import NOISE
from lorakiln.families.kinds import list_generations
from lorakiln.families.part_tensors import compute_part_shapes, read_class
from lorakiln.families.versions import END, START, Architecture

# By the settings that suit it.
KINDS = {model: version.architecture for model, version in list_generations().items()}
POOL = 2**20 + 7  # random numbers, from which all weights are taken: drawing 3.5e9 of them takes minutes
DTYPE = torch.float16  # as the hub's files that people keep


def write_random_base(folder: Path, architecture: Architecture) -> None:
    """Write the model; the same bytes every time.

    Weights are uniform in +-1/sqrt(fan in), as torch's layers begin; norms do nothing, biases are 0.
    """
    index = {"_class_name": architecture.pipeline, "scheduler": ["diffusers", "DDIMScheduler"]}
    pool = torch.rand(POOL, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for part, config in architecture.parts.items():
        kind = read_class(config)
        library = "transformers" if "architectures" in config else "diffusers"
        name = "diffusion_pytorch_model" if library == "diffusers" else "model"
        tensors = {key: _weight(key, shape, pool) for key, shape in compute_part_shapes(config).items()}
        save_tensors(folder / part / f"{name}.safetensors", tensors)
        write_json(folder / part / "config.json", dict(config))
        index[part] = [library, kind]
    for name, pad in architecture.pads.items():
        text = architecture.parts[name.replace("tokenizer", "text_encoder")]
        write_tokenizer(folder / name, text["vocab_size"], text["max_position_embeddings"], pad)
        index[name] = ["transformers", "CLIPTokenizer"]
    write_json(folder / "scheduler" / "scheduler_config.json", NOISE)
    write_json(folder / "model_index.json", index)


def compute_size(architecture: Architecture) -> int:
    """Bytes of the weights as they are written."""
    shapes = [shape for config in architecture.parts.values() for shape in compute_part_shapes(config).values()]
    return sum(shape.numel() for shape in shapes) * DTYPE.itemsize


def _weight(name: str, shape: torch.Size, pool: Tensor) -> Tensor:
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=DTYPE)
    bound = (
        0.02 if "embedding" in name and len(shape) == 2 and "linear" not in name else 1 / math.sqrt(shape[1:].numel())
    )
    count = shape.numel()
    # A prime-like length of the pool: no two rows of a weight are alike.
    return (pool * bound).to(DTYPE).repeat(-(-count // POOL))[:count].reshape(shape).clone()


def write_tokenizer(folder: Path, size: int, length: int, pad: str) -> None:
    """Write a tokenizer of CLIP's kind without its words: every text is read letter by letter.

    Args:
        size: of the vocabulary, filled up with names that no text has.
        length: tokens of a text.
        pad: the token that fills a text up.
    """
    # GPT-2's printable stand-ins for the 256 bytes; "!" is the first, as in CLIP.
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in (*shown, *range(256, 256 + 256 - len(shown)))]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [f"<|none {number}|>" for number in range(size - len(words) - 2)] + [START, END]
    write_text(folder / "vocab.json", json.dumps({word: at for at, word in enumerate(words)}, ensure_ascii=False))
    write_text(folder / "merges.txt", "#version: 0.2\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True, **special}
    write_json(folder / "tokenizer_config.json", config)
