"""From prompts and seeds to pictures: the base's own way back from noise, with classifier-free guidance."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch, explaining_no_memory
from lorakiln.diffusion.denoising import denoise
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding
from lorakiln.families.protocol import Family


@dataclass(frozen=True)
class DrawJob:
    """One picture to draw; width and height in pixels."""

    prompt: str
    seed: int
    width: int
    height: int


def draw(
    family: Family,
    jobs: Sequence[DrawJob],
    steps: int,
    guidance: float,
    negative_prompt: str = "",
    batch_size: int | Batch = 8,
    encoding: PromptEncoding = PLAIN,
    start: Tensor | None = None,
    strength: float = 1.0,
    before_each: Callable[[], object] | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> Iterator[Image.Image]:
    """Draw `jobs` in their order, RGB.

    A picture depends on its job and the settings alone: its noise comes from its own seed, on the CPU, and all
    batches have the same shape (the last is filled up by repeating and the surplus thrown away), since the last
    bits of a batched forward depend on the batch's shape. So few jobs want a small `batch_size`. Jobs of one
    size should stand together: a batch holds one size.

    Args:
        family: with all its parts.
        guidance: see `diffusion.denoising.denoise`; 1 or less: none.
        negative_prompt: stands in the place of the empty prompt.
        batch_size: a `Batch` is halved when the device is out of memory; a number is the size of one.
        encoding: of the prompts, as the adapter was trained with.
        start: latents (1, C, h, w) of a picture of the jobs' size to begin with, image to image.
        strength: how much of the way is drawn anew, in (0, 1]; 1 begins with noise alone. int(steps * strength) of
            the steps are taken, as in diffusers.
        before_each: called before every step of a batch; what it raises ends the drawing.
        done: told how many pictures each batch has given, before they are handed out: a batch ends in one moment, and
            what counts its pictures one by one believes the first to have taken all of its time.

    Raises:
        UserError: the model cannot draw a size, drew something that is not finite, or has no memory for one picture.
    """
    sampler = family.process.make_sampler(steps)
    at_once = batch_size if isinstance(batch_size, Batch) else Batch(batch_size, "drawing")
    with explaining_no_memory(f"{at_once.doing}: reading the negative prompt", at_once.advice):
        negative = family.encode_prompts([negative_prompt], encoding) if guidance > 1 else None
    for _, group in itertools.groupby(jobs, key=lambda job: (job.width, job.height)):
        alike = list(group)
        while alike:
            batch = alike[: at_once.size]
            filled = [*batch, *[batch[-1]] * (at_once.size - len(batch))]

            def paint(filled: Sequence[DrawJob] = filled) -> Tensor:
                positive = family.encode_prompts([job.prompt for job in filled], encoding)
                guided = negative is not None
                with _evaluating(family.network), torch.no_grad(), family.drawing(guided):
                    noise = _noise(family, filled)
                    latents = denoise(
                        sampler, family.predict, noise, positive, negative, guidance, start, strength, before_each
                    )
                    return family.decode_latents(latents).float().cpu()

            pixels = at_once.attempt(paint)
            if pixels is not None:
                alike = alike[len(batch) :]
                done(len(batch))
                yield from _pictures(pixels[: len(batch)])


def follow_noise_schedule(family: Family, zero_terminal_snr: bool, lora: Path) -> None:
    """Let the family draw by the noise schedule that a LoRA was trained with, at every weight of it.

    Args:
        zero_terminal_snr: whether that ends without signal.
        lora: the file, for the warning where the network predicts epsilon and cannot follow.
    """
    if not zero_terminal_snr:
        return
    try:
        family.process = family.process.rescale_to_zero_snr()
    except UserError as error:
        what = f"{lora}: trained with zero terminal SNR, and drawn without: {error.what}"
        print(f"warning: {what}", file=sys.stderr, flush=True)


def check_steps(family: Family, steps: int, where: str) -> None:
    """Refuse more steps than the noise schedule has, before anything is drawn.

    Args:
        family: may be without its parts.
        where: the setting that says how many, for the message.
    """
    family.process.make_sampler(steps, where)


def _noise(family: Family, jobs: Sequence[DrawJob]) -> Tensor:
    shape = family.latent_shape(jobs[0].width, jobs[0].height)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(job.seed)) for job in jobs]
    return torch.stack(noise).to(family.device)


def _pictures(pixels: Tensor) -> Iterator[Image.Image]:
    """RGB pictures of (B, 3, H, W) in [-1, 1]."""
    if not bool(torch.isfinite(pixels).all()):
        fix = (
            "lower the LoRA's weight, or draw in fp32 (evaluate.precision=fp32; generate --precision fp32); if the "
            "base alone does this even so, it is damaged"
        )
        raise UserError("the model drew pixels that are NaN or infinite", fix=fix)
    shades = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    for picture in shades.permute(0, 2, 3, 1).numpy():
        yield Image.fromarray(picture)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Drop-out off; each module's mode is put back afterwards, for pictures are also drawn amid training."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
