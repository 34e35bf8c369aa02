"""A BLIP in miniature and a prepared folder."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.prepare import prepare
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[DEC]",
    "red",
    "blue",
    "green",
    "cat",
    "dog",
    "sun",
    "a",
    "of",
]


@pytest.fixture(scope="session")
def captioner(tmp_path_factory) -> Source:
    """A random BLIP of 16x16 pixels and 14 words, in transformers' layout."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessorPil,
        BlipProcessor,
    )

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("blip") / "blip"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), bos_token="[DEC]")
    mean = [0.5, 0.5, 0.5]
    pictures = BlipImageProcessorPil(size={"height": 16, "width": 16}, image_mean=mean, image_std=mean)
    BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BlipConfig(
        text_config={
            **shape,
            "vocab_size": len(WORDS),
            "encoder_hidden_size": 16,
            "max_position_embeddings": 12,
            "bos_token_id": 5,
            "sep_token_id": 3,
            "eos_token_id": 3,
            "pad_token_id": 0,
        },
        vision_config={**shape, "image_size": 16, "patch_size": 4},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = BlipForConditionalGeneration(config)
        # Large weights: else it would say the same about all pictures.
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    return Source(path=str(folder))


@pytest.fixture
def raw(tmp_path):
    """Six pictures; three have caption files, of which one with a byte order mark and Windows' line ends."""
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.jpg", "c.png", "deep/d.webp", "e.png", "f.png")):
        shades = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(shades).resize((64, 64)).save(raw / name)
    (raw / "b.txt").write_bytes(b"\xef\xbb\xbfa blue\r\n  dog \r\n")
    (raw / "deep" / "d.caption").write_text("Sks Cat in the sun")
    (raw / "f.txt").write_text("the first wins")
    (raw / "f.caption").write_text("the second does not")
    return raw


@pytest.fixture
def prepared(tmp_path, raw):
    settings = PrepareSettings(dataset="raw", resolution=64, bucket={"min": 32, "max": 128, "step": 16}, workers=1)
    prepare(raw, tmp_path / "prepared", settings)
    return tmp_path / "prepared"


@pytest.fixture
def contents():
    """Gives every file of a folder with its bytes."""

    def read(folder) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
