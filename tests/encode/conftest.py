"""Five captioned pictures, as `caption` writes them, and what is asked of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, write_json, write_jsonl
from lorakiln.encode import encode
from lorakiln.families.prompt_encoding import PLAIN
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.schema.encode import EncodeSettings

TEXTS = {"a.png": "red cat", "b.png": "blue cat", "c.png": "red cat", "deep/d.png": "a cat", "e.png": "blue"}


SETTINGS = EncodeSettings(flip=True, batch_size=2)


def write_picture(folder: Path, name: str, seed: int) -> None:
    width, height = (48, 32) if name in ("b.png", "e.png") else (32, 32)
    shades = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shades).save(folder / name)


def write_metadata(folder: Path, texts: dict[str, str]) -> None:
    rows = []
    for name, text in sorted(texts.items()):
        width, height = Image.open(folder / name).size
        rows.append(
            {
                "file_name": name,
                "source": name,
                "bucket": f"{width}x{height}",
                "width": width,
                "height": height,
                "sha256": hash_file(folder / name),
                "source_width": 2 * width,
                "source_height": 2 * height + 4,
                "crop": [0, 2, width, 2 + height],
                "text": text,
            }
        )
    write_jsonl(folder / "metadata.jsonl", rows)
    settings = {"prepare": {"resolution": 32}, "caption": {"trigger": "sks"}}
    write_json(
        folder / "dataset.json",
        {"name": "five", "hash": "abc", "trigger": "sks", "pictures": len(rows), "settings": settings},
    )


@pytest.fixture
def captioned(tmp_path) -> Path:
    folder = tmp_path / "captioned"
    for seed, name in enumerate(TEXTS):
        write_picture(folder, name, seed)
    write_metadata(folder, TEXTS)
    return folder


@pytest.fixture
def calls(monkeypatch):
    """What the model was asked to encode: distinct pictures (plain and flipped count apart) and texts."""
    asked = {"pictures": [], "texts": []}
    pictures, prompts = StableDiffusion.encode_pictures, StableDiffusion.encode_prompts

    def counted_pictures(self, pixels):
        asked["pictures"] += list({row.numpy().tobytes() for row in pixels})
        return pictures(self, pixels)

    def counted_prompts(self, texts, encoding=PLAIN):
        asked["texts"] += list(dict.fromkeys(texts))
        return prompts(self, texts, encoding)

    monkeypatch.setattr(StableDiffusion, "encode_pictures", counted_pictures)
    monkeypatch.setattr(StableDiffusion, "encode_prompts", counted_prompts)
    return asked


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows_of(folder: Path) -> dict[str, tuple[str, int, dict]]:
    buckets = read_json(folder / "index.json")["buckets"]
    return {row["file_name"]: (b["file"], i, row) for b in buckets for i, row in enumerate(b["rows"])}


def assert_equals_fresh(captioned, out, model, settings=SETTINGS):
    encode(captioned, out.parent / "fresh", settings, model)
    assert contents(out) == contents(out.parent / "fresh")
