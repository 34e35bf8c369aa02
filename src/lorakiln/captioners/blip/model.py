"""BLIP through transformers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.utils import logging as transformers_logging

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, telling_no_memory
from lorakiln.families.config_ranges import check_folder
from lorakiln.schema.captioners.blip import BlipSettings

HIDE_GPU = "end what else uses the GPU, or caption on the CPU: put CUDA_VISIBLE_DEVICES= before the command"


class Blip:
    """A BLIP with its processor, in evaluation mode, in float32."""

    def __init__(self, model: BlipForConditionalGeneration, processor: BlipProcessor, device: torch.device) -> None:
        self.model, self.processor, self.device = model.eval().to(device), processor, device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "Blip":
        """Load a folder in transformers' layout.

        Raises:
            UserError: it holds no whole BLIP in safetensors.
        """
        transformers_logging.disable_progress_bar()
        fix = "name a hub id or a folder that holds a BlipForConditionalGeneration in model.captioner.path"
        try:
            check_folder(folder)
            # Its types know nothing of the pair that it returns when it is asked for what it found.
            loaded: Any = BlipForConditionalGeneration.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            model, facts = loaded
            # The class is named: without torchvision the automatic one falls back with a warning.
            pictures = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except UserError:
            raise
        except Exception as error:  # transformers and safetensors raise whatever they like here
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"cannot be loaded as a BLIP ({reason})", where=folder, fix=fix) from error
        # transformers fills what is missing with random numbers, and the captions would be random too.
        if missing := sorted(key for key in facts["missing_keys"] if key.endswith("weight")):
            raise UserError(f"not a whole BLIP: weights are missing ({missing[0]}, ...)", where=folder, fix=fix)
        with telling_no_memory("captioning: loading the captioner", HIDE_GPU):
            return cls(model, BlipProcessor(pictures, tokenizer), device)

    def write(
        self,
        files: Sequence[Path],
        settings: BlipSettings,
        done: Callable[[int, str], object] = lambda count, last: None,
    ) -> Iterator[str]:
        """A caption for every picture in turn; starts with `settings.prompt`.

        `done` is told how many each batch has given, and the last of them, before they are handed out.

        Every batch has the same shape, the last filled up by repeating: so a caption depends neither on how many
        pictures there are nor on a picture's place among them.
        """
        at_once = Batch(settings.batch_size, "captioning", "caption.batch_size", HIDE_GPU)
        while files:
            batch = list(files[: at_once.size])
            filled = batch + batch[-1:] * (at_once.size - len(batch))
            if written := at_once.attempt(partial(self._write, filled, settings)):
                done(len(batch), written[len(batch) - 1])
                yield from written[: len(batch)]
                files = files[len(batch) :]

    @torch.inference_mode()
    def _write(self, files: Sequence[Path], settings: BlipSettings) -> list[str]:
        pictures = [read_picture(file, "run the stage `prepare` again") for file in files]
        prompt = {}
        if settings.prompt:
            # BLIP's generate replaces the first token by [DEC] and drops the last, [SEP].
            tokens = self.processor.tokenizer([settings.prompt] * len(files), return_tensors="pt")
            prompt = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        pixels = self.processor.image_processor(pictures, return_tensors="pt")["pixel_values"].to(self.device)
        written = self.model.generate(
            pixel_values=pixels,
            **prompt,
            max_new_tokens=self._room(prompt, settings),
            num_beams=settings.num_beams,
            do_sample=False,
        )
        # The first token is [DEC], which not every tokenizer knows to be special.
        texts = self.processor.batch_decode(written[:, 1:], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _room(self, prompt: dict[str, torch.Tensor], settings: BlipSettings) -> int:
        """max_new_tokens, or fewer if the text model has no positions for so many."""
        begun = prompt["input_ids"].shape[1] - 1 if prompt else 1
        room: int = self.model.config.text_config.max_position_embeddings - begun
        if room < 1:
            raise UserError(
                f"caption.prompt has {begun - 1} tokens, the captioner reads {room + begun - 2} at most",
                fix="shorten it",
            )
        return min(settings.max_new_tokens, room)
