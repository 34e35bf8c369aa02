"""What is known of base models before one is loaded: what each generation is called, by whom, and how it is laid out.

Every family's folder has the records of its own (versions.py there); `families.versions()` has all of them. Nothing
here needs torch: the settings are checked with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]
NONE = "(?!)"  # a pattern that nothing matches
START, END = "<|startoftext|>", "<|endoftext|>"  # CLIP's tokens, as words


@dataclass(frozen=True)
class Layout:
    """What a family's folder in diffusers' layout holds.

    Attributes:
        family: its name in the config.
        title: its name for people.
        network: the folder of the network that takes the adapter; its layers in LoRA files begin with the same word.
        texts: the text encoders' folders.
        tokenizers: theirs.
        networks: (library, class) of all that a LoRA file may adapt, by folder; `network` first.
    """

    family: str
    title: str
    network: str
    texts: tuple[str, ...]
    tokenizers: tuple[str, ...]
    networks: Mapping[str, tuple[str, str]]

    @property
    def weights(self) -> tuple[str, ...]:
        """The folders that hold weights, the VAE's first."""
        return ("vae", *self.texts, self.network)


@dataclass(frozen=True)
class Architecture:
    """The parts of a generation of base models, for single files, which hold weights alone.

    Small by design: a model's width, depth and attention are never guessed from its weights, which are checked against
    these, the published configs of the models' own repositories.

    Attributes:
        pipeline: diffusers' class.
        parts: config by the part's folder: vae, text_encoder, ...
        prefixes: of each part's tensors in a single file.
        pads: by tokenizer's folder the token that fills a text up.
        layers: a pattern of layers that a LoRA of no other generation has, `NONE` for none; in canonical names.
        foreign: a pattern of layers that no LoRA of it has.
        spelling: a pattern of kohya's names that others hardly have.
    """

    pipeline: str
    parts: Mapping[str, Config]
    prefixes: Mapping[str, str]
    pads: Mapping[str, str]
    layers: str = NONE
    foreign: str = NONE
    spelling: str = NONE


@dataclass(frozen=True)
class BaseVersion:
    """A generation of base models, and what it is called elsewhere. Where a generation was published for two
    predictions, each is a version of its own.

    Attributes:
        name: the generation, as `model.architecture` has it: "sd1".
        title: for people: "Stable Diffusion 1.x".
        layout: its family's.
        architecture: its parts.
        kohya: sd-scripts' ss_base_model_version.
        kohya_stem: how kohya's names of all editions of the generation begin, those of other programs included.
        modelspec: modelspec.architecture (Stability's ModelSpec) without what it is of.
        modelspec_stem: how the generation's begin.
        implementation: modelspec.implementation of its LoRAs.
        a1111: "sd version" in A1111's notes.
        model: the settings that suit it, a file of conf/model; None: none do.
        hub: the id of a published model of it; None where its repository is gone.
        prediction: what it predicts, "epsilon" or "v_prediction"; None: either.
        resolution: of the square that it was trained at, pixels.
        text_width: of the texts that its cross-attention reads.
        encoder_widths: of its text encoders.
    """

    name: str
    title: str
    layout: Layout
    architecture: Architecture
    kohya: str
    kohya_stem: str
    modelspec: str
    modelspec_stem: str
    implementation: str
    a1111: str
    model: str | None
    hub: str | None
    prediction: str | None
    resolution: int
    text_width: int
    encoder_widths: tuple[int, ...]

    @property
    def told_by_names(self) -> bool:
        """Whether kohya's names of its layers show that they are its own."""
        return self.architecture.spelling != NONE

    @property
    def is_v2(self) -> bool:
        """sd-scripts' ss_v2."""
        return self.kohya.startswith("sd_v2")
