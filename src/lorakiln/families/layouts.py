"""What the folders of the families in diffusers' layout hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """What a family's folder holds.

    Attributes:
        family: its name in the config.
        title: its name for people.
        texts: the text encoders' folders.
        tokenizers: theirs.
    """

    family: str
    title: str
    texts: tuple[str, ...]
    tokenizers: tuple[str, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        """The folders that hold weights, the VAE's first."""
        return ("vae", *self.texts, "unet")

    @property
    def configs(self) -> dict[str, str]:
        return {"scheduler": "scheduler_config.json", **dict.fromkeys(self.weights, "config.json")}


SD = Layout("sd", "Stable Diffusion 1.x or 2.x", ("text_encoder",), ("tokenizer",))
SDXL = Layout("sdxl", "Stable Diffusion XL", ("text_encoder", "text_encoder_2"), ("tokenizer", "tokenizer_2"))
