"""What a LoRA is by its content: its weights, and the peft config beside them that says how they are meant."""

import hashlib
from pathlib import Path

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.lora_files.file_layers import PEFT_CONFIG
from lorakiln.lora_files.reading import find_weights_file


def hash_lora(path: Path) -> str:
    """SHA-256 in hex of a file, or of the one weights file of a folder; with a config beside it, of both.

    Raises:
        UserError: the folder holds no weights file, or several.
    """
    file = find_weights_file(path)
    config = file.parent / PEFT_CONFIG
    return hash_data([hash_file(file), hash_file(config)]) if config.is_file() else hash_file(file)


def compute_lora_short_hash(path: Path) -> str:
    """What A1111 calls a LoRA's hash: the first 12 hex digits of sshs_model_hash, the SHA-256 of all behind the header.

    Raises:
        UserError: it is no safetensors file, or a folder that holds none, or several.
    """
    file = find_weights_file(path)
    if told := read_metadata(file).get("sshs_model_hash"):
        return told[:12]
    with file.open("rb") as opened:
        opened.seek(8 + int.from_bytes(opened.read(8), "little"))
        return hashlib.file_digest(opened, "sha256").hexdigest()[:12]
