"""A vision-language model through transformers: whatever its AutoModelForImageTextToText knows."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from lorakiln.artefacts.pictures import read_picture
from lorakiln.captioners.loading import HIDE_GPU, check_weights, explaining_errors, load_weights
from lorakiln.captioners.vlm.processor import OPTIONS, load_processor
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, explaining_no_memory, is_out_of_memory
from lorakiln.schema.captioners.vlm import VlmSettings

KIND = "an image-to-text model"
FIX = "name a folder or a hub id of one that transformers knows in caption.source.path; see docs/captioners.md"
INSTRUCTION = "Describe this picture in one sentence."  # of models that are talked to
# What models of these types are asked where nobody says it; others are given the picture alone.
PROMPTS = {"florence2": "<DETAILED_CAPTION>", "paligemma": "caption en", "instructblip": "a short image description:"}
PLAIN_TEXT = "pure_text"  # of Florence-2's tasks


class Vlm:
    """A model with its processor, in evaluation mode."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self.model, self.processor, self.device = model.to(device), processor, device

    @classmethod
    def load(cls, folder: Path, device: torch.device, precision: str) -> "Vlm":
        """Load a folder in transformers' layout.

        Args:
            precision: a dtype's name, or "auto".

        Raises:
            UserError: it holds no whole model of the sort in safetensors, or one that needs torchvision or own code.
        """
        check_weights(folder)
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" else "float32"
        with explaining_errors(folder, KIND, FIX):
            config = AutoConfig.from_pretrained(folder, **OPTIONS)
            if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
                raise UserError(f"{config.model_type} is no {KIND.removeprefix('an ')}", where=folder, fix=FIX)
            processor = load_processor(folder, config)
            model = load_weights(folder, AutoModelForImageTextToText, getattr(torch, precision), FIX)
        with explaining_no_memory("captioning: loading the captioner", HIDE_GPU):
            return cls(model, processor, device)

    def write(
        self,
        files: Sequence[Path],
        settings: VlmSettings,
        done: Callable[[int, str], object] = lambda count, last: None,
    ) -> Iterator[str]:
        """A caption for every picture in turn, without the prompt.

        Every batch is of pictures of one size, and has the same shape, filled up by repeating: so nothing is padded,
        and a caption depends on no other picture. `done` is told how many each batch has given, and the last of them.
        """
        prompt = self.choose_prompt(settings.prompt)
        at_once = Batch(settings.batch_size, "captioning", "caption.batch_size", HIDE_GPU)
        while files:
            batch: list[Image.Image] = []
            for file in files[: at_once.size]:
                picture = read_picture(file, "run the stage `prepare` again")
                if batch and picture.size != batch[0].size:
                    break
                batch.append(picture)
            filled = batch + batch[-1:] * (at_once.size - len(batch))
            if written := at_once.attempt(partial(self._write, filled, prompt, settings)):
                done(len(batch), written[len(batch) - 1])
                yield from written[: len(batch)]
                files = files[len(batch) :]

    def choose_prompt(self, given: str | None) -> str:
        """What the model is asked beside the picture.

        Raises:
            UserError: a task of Florence-2 whose answer is no text.
        """
        talks = bool(self.processor.chat_template)
        prompt = given if given is not None else INSTRUCTION if talks else PROMPTS.get(self.model.config.model_type, "")
        answers: dict[str, str] = getattr(self.processor, "tasks_answer_post_processing_type", {})
        for task, answer in answers.items():
            if task in prompt and answer != PLAIN_TEXT:
                texts = ", ".join(name for name, kind in answers.items() if kind == PLAIN_TEXT and "REGION" not in name)
                raise UserError(f"{task} gives places, no caption", where="caption.prompt", fix=f"one of {texts}")
        return prompt

    @torch.inference_mode()
    def _write(self, pictures: Sequence[Image.Image], prompt: str, settings: VlmSettings) -> list[str]:
        try:
            inputs = self._make_inputs(pictures, prompt)
            written = self.model.generate(
                **inputs.to(self.device, self.model.dtype),
                max_new_tokens=settings.max_new_tokens,
                num_beams=settings.num_beams,
                repetition_penalty=settings.repetition_penalty,
                no_repeat_ngram_size=settings.no_repeat_ngram_size,
                do_sample=False,
            )
        except Exception as error:  # of a hundred architectures
            if is_out_of_memory(error) or isinstance(error, UserError):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            what = f"{self.model.config.model_type} cannot caption with the prompt {prompt!r} ({reason})"
            raise UserError(what, where="caption.prompt", fix="set another that suits the model") from error
        begun = inputs.get("input_ids")
        # Some give back what they were asked, and then the answer.
        if begun is not None and torch.equal(written[:, : begun.shape[1]], begun.to(written.device)):
            written = written[:, begun.shape[1] :]
        texts = self.processor.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _make_inputs(self, pictures: Sequence[Image.Image], prompt: str) -> Any:
        """The model's inputs for pictures of one size, (N, ...) each."""
        given: dict[str, Any] = {"images": list(pictures)}
        if self.processor.chat_template:
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            talk = [{"role": "user", "content": content}]
            text = self.processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
            # As many lists as texts: else some take all pictures for one text's.
            given = {"images": [[picture] for picture in pictures], "text": [text] * len(pictures)}
        elif prompt:
            given["text"] = [prompt] * len(pictures)
        inputs = self.processor(**given, return_tensors="pt")
        if not self.model.config.is_encoder_decoder and "input_ids" in inputs and not self.processor.chat_template:
            _drop_end(inputs, self.processor.tokenizer)
        if "token_type_ids" not in signature(self.model.forward).parameters:
            inputs.pop("token_type_ids", None)  # what a tokenizer gives that knows nothing of its model
        return inputs


def _drop_end(inputs: Any, tokenizer: Any) -> None:
    """Without what ends a sentence, which the model is to continue: BERT's tokenizers put [SEP] there (GIT)."""
    last = inputs["input_ids"][0, -1].item()
    if inputs["input_ids"].shape[1] > 1 and last in (tokenizer.sep_token_id, tokenizer.eos_token_id):
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            if name in inputs:
                inputs[name] = inputs[name][:, :-1]
