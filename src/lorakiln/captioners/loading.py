"""A captioner's weights from a folder in transformers' layout: safetensors alone, all of them, and no code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from lorakiln.console.errors import UserError
from lorakiln.families.config_ranges import check_folder

HIDE_GPU = "end what else uses the GPU, or caption on the CPU: put CUDA_VISIBLE_DEVICES= before the command"


def check_weights(folder: Path) -> None:
    """Raise UserError if a folder holds no safetensors, or files that are not to be opened."""
    if not any(folder.glob("model*.safetensors")):
        fix = "only safetensors are read, for pickles can run code: load it in transformers and save_pretrained it"
        raise UserError("no safetensors weights of a captioner", where=folder, fix=fix)
    check_folder(folder)


@contextmanager
def explaining_errors(folder: Path, kind: str, fix: str) -> Iterator[None]:
    """Turn whatever transformers raises while it loads a folder as `kind` ("a BLIP") into a UserError."""
    transformers_logging.disable_progress_bar()
    # Else a page of weights that do not fit stands before the error, and each batch warns of generation settings that
    # are not used.
    transformers_logging.set_verbosity_error()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers and safetensors raise whatever they like here
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot be loaded as {kind} ({reason})", where=folder, fix=fix) from error


def load_weights(folder: Path, model_class: Any, dtype: torch.dtype, fix: str) -> Any:
    """A model with its weights.

    Args:
        model_class: of transformers, or one of its automatic classes.
        fix: what to do where it is not whole.

    Raises:
        UserError: weights are missing; transformers would fill in random numbers, and the captions would be random too.
    """
    model, facts = model_class.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        dtype=dtype,
        output_loading_info=True,
    )
    if missing := sorted(key for key in facts["missing_keys"] if key.endswith("weight")):
        raise UserError(f"not a whole model: weights are missing ({missing[0]}, ...)", where=folder, fix=fix)
    return model.eval()
