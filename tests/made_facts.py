"""Facts and rows as the stages write them, of nothing in particular; tests change what they are about."""

from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json, write_jsonl
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.rows import CaptionedRow, EncodedRow, PreparedRow

BASE = {"family": "sd", "path": "base", "hash": "b" * 64, "prediction_type": "epsilon", "version": "sd_v1"}
DATASET = {"name": "demo", "hash": "d" * 16, "pictures": 3}


def captioned_row(file_name: str, **changes: Any) -> dict[str, Any]:
    """A row of a captioned folder's metadata.jsonl: a square source in a bucket of 32x32."""
    row = {
        "file_name": file_name,
        "width": 32,
        "height": 32,
        "bucket": "32x32",
        "source": file_name,
        "sha256": "5" * 64,
        "source_width": 32,
        "source_height": 32,
        "crop": [0, 0, 32, 32],
        "text": "a cat",
        "caption_source": "file",
        **changes,
    }
    return CaptionedRow(**row).to_dict()


def prepared_row(file_name: str, **changes: Any) -> dict[str, Any]:
    """And of a prepared one's."""
    row = {key: value for key, value in captioned_row(file_name).items() if key not in ("text", "caption_source")}
    return PreparedRow(**row | changes).to_dict()


def encoded_row(**changes: Any) -> EncodedRow:
    """And of an encoded one's index."""
    row = {"file_name": "0.png", "sha256": "5" * 64, "text": "a cat", "key_picture": "p", "key_caption": "c", **changes}
    return EncodedRow(**row)


def run_facts(**changes: Any) -> RunFacts:
    told = {
        "step": 20,
        "rank": 2,
        "alpha": 1.0,
        "targets": [],
        "base": BASE,
        "dataset": DATASET,
        "trigger": "sks",
        "held_out": 1,
        "adapters": [],
        "settings": {},
        **changes,
    }
    return RunFacts(**told)


def lora_facts(**changes: Any) -> LoraFacts:
    told = {
        "name": "sks",
        "file": "sks.safetensors",
        "files": ["sks.safetensors"],
        "hash": "f" * 64,
        "step": 20,
        "rank": 2,
        "alpha": 1.0,
        "trigger": "sks",
        "base": BASE,
        "dataset": DATASET,
        "settings": {},
        **changes,
    }
    return LoraFacts(**told)


def write_captioned(encoded: Path, folder: Path) -> Path:
    """The captioned pictures that an encoded folder was made of, as `export` reads them: their rows alone."""
    rows = []
    for bucket in read_json(encoded / "index.json")["buckets"]:
        width, height = map(int, bucket["name"].split("x"))
        size = {"width": width, "height": height, "source_width": width, "source_height": height}
        rows += [captioned_row(row["file_name"], text=row["text"], **size) for row in bucket["rows"]]
    write_jsonl(folder / "metadata.jsonl", rows)
    return folder
