"""What a LoRA is by its content: its weights, and the peft config beside them that says how they are meant."""

from pathlib import Path

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.lora_files.found import PEFT_CONFIG
from lorakiln.lora_files.reading import weights_file


def hash_lora(path: Path) -> str:
    """SHA-256 in hex of a file, or of the one weights file of a folder; with a config beside it, of both.

    Raises:
        UserError: the folder holds no weights file, or several.
    """
    file = weights_file(path)
    config = file.parent / PEFT_CONFIG
    return hash_data([hash_file(file), hash_file(config)]) if config.is_file() else hash_file(file)
