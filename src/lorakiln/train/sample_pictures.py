"""Pictures drawn while training, with the adapter as it is."""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.console.errors import UserError
from lorakiln.console.memory import Batch
from lorakiln.families.file_hashes import compute_short_hash
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.families.protocol import Family
from lorakiln.sampling import DrawJob, check_steps, draw, format_infotext, save_picture
from lorakiln.sampling.prompt_cache import PromptCache
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import SampleSettings, TrainSettings
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.length import format_interval
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.memory_count import DRAWN
from lorakiln.train.sample_file import SampleRequest, read_sample_file

CAPTIONS = 3  # of the dataset, drawn where no prompts are set
# Sources of captions that are no captioner's words; None: nothing is known.
CHOSEN = (None, "edit", "file", "class_tokens", "trigger")


@dataclass(frozen=True)
class Sample:
    """A picture that is drawn again and again.

    Attributes:
        weight: of the adapter.
    """

    job: DrawJob
    steps: int
    guidance: float
    negative: str = ""
    weight: float = 1.0

    @property
    def drawn_with(self) -> tuple[int, float, str, float]:
        """What all pictures have in common that are drawn at once."""
        return self.steps, self.guidance, self.negative, self.weight


def choose_requests(encoded: EncodedDataset, settings: SampleSettings, trained: list[list[int]]) -> list[SampleRequest]:
    """What the file of prompts asks for ("{trigger}" stands for the trigger words); without one, see
    `choose_sample_prompts`.

    Args:
        trained: rows trained on, by bucket.

    Raises:
        UserError: see `read_sample_file`.
    """
    if settings.file is None:
        return [SampleRequest(prompt=prompt) for prompt in choose_sample_prompts(encoded, settings, trained)]
    requests = read_sample_file(Path(settings.file))
    return [
        one.model_copy(update={"prompt": one.prompt.replace("{trigger}", encoded.trigger).strip()}) for one in requests
    ]


def list_samples(requests: Sequence[SampleRequest], settings: SampleSettings, side: int) -> list[Sample]:
    """All pictures of a round: all requests with the first seed, then with the next; one that has a seed, once.

    Args:
        side: of a picture whose request says none, pixels.
    """
    samples = []
    # The first few pictures, which a model card shows, are of different prompts.
    for number, seed in enumerate(dict.fromkeys(settings.seeds)):
        for one in requests:
            if one.seed is not None and number:
                continue
            job = DrawJob(one.prompt, seed if one.seed is None else one.seed, one.width or side, one.height or side)
            steps, guidance = one.steps or settings.steps, settings.guidance if one.guidance is None else one.guidance
            samples.append(Sample(job, steps, guidance, one.negative, one.weight))
    return samples


def check_asked_samples(settings: TrainSettings, family: Family, side: int) -> None:
    """Refuse what could not be drawn while training before there are pictures to train on, whose captions may be the
    prompts.

    Args:
        family, side: see `check_samples` and `list_samples`.

    Raises:
        UserError: see `check_samples` and `read_sample_file`.
    """
    asked = settings.samples
    if asked.file is not None:
        requests = read_sample_file(Path(asked.file))
    else:
        requests = [SampleRequest(prompt=prompt) for prompt in asked.prompts or ["a caption"]]
    if asked.every:
        weighs = hasattr(find_trained_kind(settings.adapter.kind), "weighted")
        check_samples(list_samples(requests, asked, side), family, weighs)


def check_samples(samples: Sequence[Sample], family: Family, weighs: bool) -> None:
    """Refuse, before anything is loaded, what could not be drawn.

    Args:
        family: may be without its parts.
        weighs: whether the adapter can be drawn at another weight than 1.

    Raises:
        UserError: a size that this base does not have, more steps than it has, a weight that this kind has not.
    """
    for one in samples:
        try:
            family.latent_shape(one.job.width, one.job.height)
        except UserError as error:
            raise UserError(f"{error.what} ({one.job.prompt})", where="train.samples", fix=error.fix) from error
        check_steps(family, one.steps, "train.samples.steps")
        if one.weight != 1 and not weighs:
            raise UserError(
                f"adapters of this kind are drawn at weight 1 while training, not at {one.weight:g}",
                where="train.samples.file",
                fix="leave --am out; the evaluation draws at any weight",
            )


def choose_largest(samples: Sequence[Sample]) -> tuple[int, int]:
    """Width and height of the picture that takes the most memory."""
    return max(((one.job.width, one.job.height) for one in samples), key=math.prod)


def choose_sample_prompts(encoded: EncodedDataset, settings: SampleSettings, trained: list[list[int]]) -> list[str]:
    """The prompts set ("{trigger}" stands for the trigger words); else the trigger and the first captions.

    Args:
        trained: rows trained on, by bucket.
    """
    if settings.prompts:
        return [prompt.replace("{trigger}", encoded.trigger).strip() for prompt in settings.prompts]
    rows = [bucket.rows[i] for bucket, rows in zip(encoded.buckets, trained, strict=True) for i in rows]
    captions = [row.text for row in sorted(rows, key=lambda row: row.file_name) if not row.is_reg]
    prompts = [encoded.trigger] if encoded.trigger else []
    return list(dict.fromkeys(prompts + captions))[: len(prompts) + CAPTIONS]


def describe_samples(encoded: EncodedDataset, settings: SampleSettings, trained: list[list[int]]) -> str:
    """When samples are drawn and of which prompts, in one line: nobody chose the ones that are captions.

    Args:
        trained: as in `choose_sample_prompts`.
    """
    if not settings.every:
        return "none"
    prompts = [one.prompt for one in choose_requests(encoded, settings, trained)]
    shown = "; ".join(textwrap.shorten(prompt, 60, placeholder=" ...") for prompt in prompts)
    rows = [row for bucket in encoded.buckets for row in bucket.rows]
    written = {row.text for row in rows if row.caption_source not in CHOSEN}
    guesses = sum(prompt in written for prompt in prompts) if not (settings.prompts or settings.file) else 0
    note = f" ({guesses} of {len(prompts)} are the captioner's words; train.samples.prompts sets others)"
    return f"every {format_interval(settings.every)}: {shown}{note if guesses else ''}"


class SampleDrawer:
    """Draws the same samples each time.

    The seeds' own generators make the noise, so drawing changes nothing about the training that goes on after it.

    Args:
        at_once: pictures drawn at once, at most.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        model: ModelSettings,
        encoding: PromptEncoding,
        at_once: int = DRAWN,
    ) -> None:
        self.samples, self.model, self.encoding, self.at_once = samples, model, encoding, at_once
        self._family: PromptCache | None = None

    def draw(
        self, module: LoraModule, folder: Path, before_each: Callable[[], object] | None = None
    ) -> dict[str, Path]:
        """Write 00.png, 01.png, ... with A1111's infotext into `folder`; caption -> file.

        Args:
            before_each: called before every step of a batch; what it raises ends the drawing, and nothing is written.

        Raises:
            UserError: the model drew something that is not finite.
        """
        # What encoders that stay as they are read once, they need not come onto the device for again.
        family = self._family = self._family or PromptCache(module.family)
        module.encoders.set_training(False)
        conditioning, batch = None, self._batch(len(self.samples))
        prompts = ["", *(text for one in self.samples for text in (one.negative, one.job.prompt) if text)]
        while conditioning is None:
            with module.autocast() if module.reads_anew else nullcontext():
                conditioning = batch.attempt(lambda: family.encode_prompts(prompts, self.encoding))
        pictures = list(self._draw(module, family, before_each))
        files = self.files(folder)
        for one, picture, path in zip(self.samples, pictures, files.values(), strict=True):
            text = format_infotext(
                one.job,
                one.steps,
                one.guidance,
                one.negative,
                model=Path(self.model.path).name,
                clip_skip=self.encoding.clip_skip,
                model_hash=compute_short_hash(self.model.path, module.family.facts["hash"]),
            )
            save_picture(picture, path, text)
        return files

    def _draw(
        self, module: LoraModule, family: PromptCache, before_each: Callable[[], object] | None
    ) -> Iterator[Image.Image]:
        for (steps, guidance, negative, weight), group in itertools.groupby(
            self.samples, key=lambda one: one.drawn_with
        ):
            jobs = [one.job for one in group]
            if module.reads_anew:
                family.forget()  # they are others since, or weigh otherwise
            with module.autocast(), module.adapted.at_weight(weight):
                yield from draw(
                    family,
                    jobs,
                    steps,
                    guidance,
                    negative,
                    batch_size=self._batch(len(jobs)),
                    encoding=self.encoding,
                    before_each=before_each,
                )

    def _batch(self, count: int) -> Batch:
        advice = "train.samples.every=0 draws none while training; the training itself goes on"
        return Batch(min(self.at_once, count), "drawing samples", advice=advice)

    def files(self, folder: Path) -> dict[str, Path]:
        """Caption -> file, of what `draw` writes into `folder`."""
        return {_title(number, one): folder / f"{number:02d}.png" for number, one in enumerate(self.samples)}

    def table(self, folder: Path) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of what was drawn so far, below the run's samples: a row a step, a column a
        prompt and seed.
        """
        rows = [
            [int(step.name.rpartition("-")[2]), *sorted(step.glob("*.png"))] for step in sorted(folder.glob("step-*"))
        ]
        columns = ["step", *(_title(number, one) for number, one in enumerate(self.samples))]
        return columns, [row for row in rows if len(row) == len(columns)]


def _title(number: int, sample: Sample) -> str:
    weight = "" if sample.weight == 1 else f", weight {sample.weight:g}"
    return f"{number:02d} {sample.job.prompt}, seed {sample.job.seed}{weight}"
