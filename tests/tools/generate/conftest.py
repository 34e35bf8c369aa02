"""`lorakiln generate` with a micro model and a LoRA of it."""

import numpy as np
import pytest
import yaml
from PIL import Image

from lorakiln.cli import main
from lorakiln.lora_files.writing import write_lora
from tests.lora_files.conftest import random_adapter


@pytest.fixture
def model(tmp_path, micro_model):
    file = tmp_path / "micro.yaml"
    file.write_text(yaml.safe_dump(micro_model.model_dump(mode="json")))
    return str(file)


@pytest.fixture
def lora(tmp_path, micro_family):
    write_lora(random_adapter(micro_family), tmp_path / "style.safetensors", "kohya")
    return str(tmp_path / "style.safetensors")


def run(*arguments):
    return main(["generate", *map(str, arguments), "--steps", "2"])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
