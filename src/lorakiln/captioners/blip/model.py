"""BLIP through transformers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from lorakiln.artefacts.pictures import read_picture
from lorakiln.captioners.loading import HIDE_GPU, check_weights, explaining_errors, load_weights
from lorakiln.captioners.model_files import FIX
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, explaining_no_memory
from lorakiln.schema.captioners.blip import BlipSettings


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
        fix = f"{FIX}; it is to hold a BlipForConditionalGeneration"
        check_weights(folder)
        with explaining_errors(folder, "a BLIP", fix):
            model = load_weights(folder, BlipForConditionalGeneration, torch.float32, fix)
            # The class is named: without torchvision the automatic one falls back with a warning.
            pictures = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with explaining_no_memory("captioning: loading the captioner", HIDE_GPU):
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
            batch, count = at_once.fill(files)
            if written := at_once.attempt(partial(self._write, batch, settings)):
                done(count, written[count - 1])
                yield from written[:count]
                files = files[count:]

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
            repetition_penalty=settings.repetition_penalty,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
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
