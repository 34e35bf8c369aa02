"""Evaluating a file that was not trained here, as if `export` had written it."""

import shutil
from pathlib import Path

from lorakiln.artefacts.folders import replacing
from lorakiln.facts.base_model import BaseFacts
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.facts.lora import LoraFacts
from lorakiln.families import load_family
from lorakiln.lora_files.applying import read_applicable
from lorakiln.lora_files.file_layers import PEFT_CONFIG
from lorakiln.lora_files.identity import hash_lora
from lorakiln.lora_files.kohya_metadata import is_zero_terminal_snr
from lorakiln.lora_files.reading import find_weights_file
from lorakiln.schema.whole_config import Config


def import_lora(file: Path, captioned: Path, out: Path, config: Config) -> None:
    """Write the folder that `evaluate` reads: a copy of the file, and facts.json with what is known of it.

    Args:
        file: a LoRA in any form that `read_any` reads, or the folder that it is alone in; or a textual inversion.
        captioned: the pictures that its own are compared with.
        out: replaced whole.
        config: its base model, and the trigger words of `caption`.

    Raises:
        UserError: the file is no LoRA or embedding that is read here, or the base model is not there.
    """
    file = find_weights_file(file)
    adapter = read_applicable(file)
    # Rotations and scales have no rank; words alone have no layers.
    largest = max(adapter.changes.values(), key=lambda layer: layer.rank or 0, default=None)
    spaces = ("model", "prepare", "caption", "encode")
    with replacing(out) as fresh:
        shutil.copyfile(file, fresh / file.name)
        # A peft folder's alphas, and how its kind of adapter is meant.
        if (beside := file.parent / PEFT_CONFIG).is_file():
            shutil.copyfile(beside, fresh / PEFT_CONFIG)
        facts = LoraFacts(
            name=file.stem,
            file=file.name,
            files=[file.name],
            hash=hash_lora(file),
            step=None,
            rank=largest and largest.rank,
            alpha=largest and largest.alpha,
            trigger=config.caption.trigger,
            base=BaseFacts(**load_family(config.model, ()).facts),
            zero_terminal_snr=is_zero_terminal_snr(adapter.metadata),
            dataset=DatasetFacts.read(captioned / "dataset.json"),
            settings={name: getattr(config, name).model_dump(mode="json") for name in spaces},
        )
        facts.write(fresh / "facts.json")
