"""A model's processor, which makes tensors of pictures and words, put together without torchvision.

transformers' own AutoProcessor asks for a video processor where a model knows films, and that needs torchvision; of
pictures its image processors in Pillow and numpy are enough.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, BatchFeature, PreTrainedConfig
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from lorakiln.console.errors import UserError

OPTIONS = {"local_files_only": True, "trust_remote_code": False}


class PlainProcessor:
    """Of a model that takes pictures and begins to write: a picture encoder with a text decoder (ViT-GPT2, TrOCR)."""

    chat_template = None

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, images: Sequence[Image.Image], return_tensors: str) -> BatchFeature:
        """The tensors of some pictures."""
        inputs: BatchFeature = self.image_processor(images, return_tensors=return_tensors)
        return inputs


def load_processor(folder: Path, config: PreTrainedConfig) -> Any:
    """The processor of a model's folder: called with `images` and perhaps `text`, it gives the model's inputs.

    Raises:
        UserError: its pictures are processed by torchvision alone.
        Exception: whatever transformers raises where files are missing or damaged.
    """
    try:
        pictures = AutoImageProcessor.from_pretrained(folder, backend="pil", **OPTIONS)
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error).lower():
            raise
        what = f"transformers processes pictures for {config.model_type} with torchvision alone, which is not used here"
        fix = "name another model: BLIP-2, Florence-2, Qwen-VL, LLaVA, PaliGemma, SmolVLM and others need Pillow alone"
        raise UserError(what, where=folder, fix=fix) from error
    tokenizer = AutoTokenizer.from_pretrained(folder, **OPTIONS)
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None:
        return PlainProcessor(pictures, tokenizer)
    parts = [_load_part(name, folder, pictures, tokenizer) for name in kind.get_attributes()]
    facts, _ = kind.get_processor_dict(folder, local_files_only=True)
    return _without_films(kind).from_args_and_dict(parts, facts)


def _load_part(name: str, folder: Path, pictures: Any, tokenizer: Any) -> Any:
    """A part by the name that the processor has for it; None for what is no use here."""
    if "tokenizer" in name:
        # A second one lies in a folder of its name: InstructBLIP's qformer_tokenizer.
        return tokenizer if name == "tokenizer" else AutoTokenizer.from_pretrained(folder / name, **OPTIONS)
    return pictures if name == "image_processor" else None


def _without_films(kind: Any) -> Any:
    """The same class of processors, which does without the parts that are None."""

    class PictureProcessor(kind):
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return argument is None or super().check_argument_for_proper_class(argument_name, argument)

    return PictureProcessor
