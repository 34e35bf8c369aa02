"""The protocol that every model family fulfils; nothing outside this folder asks which family it is."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from lorakiln.artefacts.tensor_files import DTYPES
from lorakiln.diffusion.process import Process
from lorakiln.families.learned_words import Words
from lorakiln.families.prompt_encoding import PLAIN, PromptEncoding, Tokens

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Part = Literal["vae", "text", "network"]
NETWORK: tuple[Part, ...] = ("network",)
TEXT: tuple[Part, ...] = ("text",)
Conditioning = Mapping[str, Tensor]
# Where a picture was taken from its source: source height and width, crop's top and left, height and width; pixels,
# the crop's as counted after the resize (size and crop conditioning, arXiv 2307.01952, section 2.2).
Place = tuple[int, int, int, int, int, int]


class Family(Protocol):
    """One loaded base model. Only the parts asked for are there; the others raise AttributeError when touched.

    Shapes: B pictures, C latent channels, H x W pixels, h x w latent cells, L tokens, D text width.

    Attributes:
        name: the family's name in the config.
        part: what the network's layers begin with in LoRA files.
        network: the denoiser, frozen, that takes the adapter.
        vae: what makes latents of pictures and pictures of latents, frozen.
        device: where the parts are; what the methods take may be elsewhere, what they give is there.
        process: how the model was trained: what noises its latents, what its network answers, and the way back.
        facts: where the model came from: {"family", "path", "revision", "hash", "prediction_type", "version"}, all
            strings; hash is its content's identity, version kohya's name of the base (`BaseVersion.kohya`).
    """

    name: str
    part: str
    network: nn.Module
    vae: nn.Module
    device: torch.device
    process: Process
    facts: dict[str, str]

    def encode_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents as the network sees them (scaled).

        Args:
            pixels: (B, 3, H, W) in [-1, 1].

        Returns:
            two tensors (B, C, h, w).
        """
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, H, W), nominally in [-1, 1], of scaled latents (B, C, h, w)."""
        ...

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture's latents; UserError if the model cannot draw pictures of this size, in pixels."""
        ...

    def encode_prompts(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        """The conditioning of `prompts`, each value with first dimension B; the first is "prompt_embeds" (B, L, D)."""
        ...

    def tokenise(self, prompts: Sequence[str], encoding: PromptEncoding = PLAIN) -> dict[str, Tokens]:
        """What each text encoder reads of `prompts`, by its part's name; asked of families that have some in
        `adaptable` alone, as the two below are.
        """
        ...

    def encode_tokens(self, tokens: Mapping[str, Tokens], encoding: PromptEncoding = PLAIN) -> dict[str, Tensor]:
        """What `encode_prompts` gives of the prompts with these tokens, with gradients where something in the encoders
        takes them. They are to be on the device, and compute under whatever autocast there is.
        """
        ...

    def make_blank_tokens(self, count: int, encoding: PromptEncoding = PLAIN) -> dict[str, Tokens]:
        """Of that many prompts the shapes alone, on this family's device: what a hollow one can encode."""
        ...

    def know_words(self, words: Words) -> None:
        """From here on prompts may hold these words, each read as its vectors, and no others that were given before.

        Args:
            words: none: the text encoders are again what they were, without a trace.

        Raises:
            UserError: the vectors are not for this model's text encoders.
        """
        ...

    def place_conditioning(self, place: Place) -> dict[str, Tensor]:
        """What the network is told about a picture beside its caption, without the batch's dimension; may be empty."""
        ...

    def count_tokens(self, prompt: str) -> int:
        """How many tokens `prompt` has, the begin and end tokens not counted; a chunk holds `max_tokens`."""
        ...

    def pieces(self, prompt: str) -> list[str]:
        """The tokens of `prompt` as text."""
        ...

    def rarity(self, word: str) -> float | None:
        """Where a word stands among all that the model reads as one token, from 0, the most usual, to 1; None: it is
        read in several. A vocabulary of byte pairs is in the order of their frequency (arXiv 1508.07909).
        """
        ...

    def unread(self, prompt: str, chunks: int = 1) -> str:
        """What of `prompt` lies beyond that many chunks and is cut off; empty if nothing is."""
        ...

    @property
    def max_tokens(self) -> int: ...

    def predict(self, noisy_latents: Tensor, times: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's prediction, (B, C, h, w), for (B, C, h, w) latents at (B,) times as `process` counts them."""
        ...

    def drawing(self, guided: bool) -> AbstractContextManager[None]:
        """Around the calls of `predict` that draw one batch, without gradients: the conditioning is the same in each,
        and so need not be read anew.

        Args:
            guided: the first half of the rows are the latents and times of the second, with another text.
        """
        ...

    def training(self) -> AbstractContextManager[None]:
        """Around a training of adapters, with what is drawn and validated in between: no weight of the base changes."""
        ...

    def target_modules(self, preset: str, part: str | None = None) -> list[str]:
        """The full names, sorted, of the modules that a preset adapts: of the denoiser ("attention", "kohya", "locon"),
        or of the text encoder `part` ("attention", "kohya").

        To be asked before an adapter is put on: the adapter's own layers are modules too.
        """
        ...

    def rest(self, working: Collection[Part] = ()) -> None:
        """From here on VAE and text encoders are on the device only while they work, else in the machine's memory: the
        network has the device to itself. On a CPU nothing moves.

        Args:
            working: parts that stay, and compute under whatever autocast there is.
        """
        ...

    def present(self, part: Part) -> AbstractContextManager[None]:
        """A part that rests stays on the device inside: to be entered around many calls that it works in."""
        ...

    def hollow(self, parts: Collection[Part]) -> "Family":
        """This family with parts that have shapes and no numbers, on torch's meta device, none of them loaded: made in
        a second, to count memory with. Its prompts cannot be encoded.
        """
        ...

    def adaptable(self) -> dict[str, nn.Module]:
        """The loaded networks that a LoRA can be on, by their part's name in LoRA files: `part`, "text_encoder", ..."""
        ...

    def kohya_name(self, module: str) -> str:
        """kohya's name for an adapted module, "<part>.<path>"."""
        ...

    def client_keys(self) -> dict[str, dict[str, str]]:
        """For each client (kohya, A1111, ComfyUI) the layer that it finds under a LoRA file's key, of loaded parts."""
        ...

    def pipeline(self) -> "DiffusionPipeline":
        """A text-to-image pipeline over the loaded parts (all of them needed), with the process's own sampler."""
        ...


def choose_drawing_precision(device: torch.device, wanted: str = "auto") -> str:
    """What a model draws in: "fp32", "bf16" or "fp16"; "auto" is fp16 on a GPU, where it is several times faster, and
    fp32 on a processor, which gains nothing from less.
    """
    if wanted != "auto":
        return wanted
    return "fp16" if device.type == "cuda" else "fp32"


def choose_drawing_dtype(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """The same as torch's type."""
    return DTYPES[choose_drawing_precision(device, wanted)]


def choose_text_dtype(device: torch.device) -> torch.dtype | None:
    """Text encoders' precision: fp16 on a GPU, as the models are published for drawing, and it takes half of the
    memory; on a processor as the other parts.
    """
    return torch.float16 if device.type == "cuda" else None
