"""Pictures drawn while training, with the adapter as it is."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from lorakiln.console.memory import Batch
from lorakiln.families.file_hashes import compute_short_hash
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.sampling import DrawJob, draw, format_infotext, save_picture
from lorakiln.sampling.prompt_cache import PromptCache
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import SampleSettings
from lorakiln.train.latents import Encoded
from lorakiln.train.length import format_interval
from lorakiln.train.lora_module import LoraModule
from lorakiln.train.memory_count import DRAWN

CAPTIONS = 3  # of the dataset, drawn where no prompts are set
CHOSEN = (None, "file", "trigger")  # sources of captions that are no captioner's words, None: nothing is known


def choose_sample_prompts(encoded: Encoded, settings: SampleSettings, trained: list[list[int]]) -> list[str]:
    """The prompts set ("{trigger}" stands for the trigger words); else the trigger and the first captions.

    Args:
        trained: rows trained on, by bucket.
    """
    if settings.prompts:
        return [prompt.replace("{trigger}", encoded.trigger).strip() for prompt in settings.prompts]
    rows = [bucket.rows[i] for bucket, rows in zip(encoded.buckets, trained, strict=True) for i in rows]
    captions = [row.text for row in sorted(rows, key=lambda row: row.file_name)]
    prompts = [encoded.trigger] if encoded.trigger else []
    return list(dict.fromkeys(prompts + captions))[: len(prompts) + CAPTIONS]


def tell_samples(encoded: Encoded, settings: SampleSettings, trained: list[list[int]]) -> str:
    """When samples are drawn and of which prompts, in one line: nobody chose the ones that are captions.

    Args:
        trained: as in `choose_sample_prompts`.
    """
    if not settings.every:
        return "none"
    prompts = choose_sample_prompts(encoded, settings, trained)
    told = "; ".join(textwrap.shorten(prompt, 60, placeholder=" ...") for prompt in prompts)
    rows = [row for bucket in encoded.buckets for row in bucket.rows]
    written = {row.text for row in rows if row.caption_source not in CHOSEN}
    guesses = sum(prompt in written for prompt in prompts) if not settings.prompts else 0
    note = f" ({guesses} of {len(prompts)} are the captioner's words; train.samples.prompts sets others)"
    return f"every {format_interval(settings.every)}: {told}{note if guesses else ''}"


class SampleDrawer:
    """Draws the same prompts from the same seeds each time: all prompts from the first seed, then from the next.

    The seeds' own generators make the noise, so drawing changes nothing about the training that goes on after it.

    Args:
        at_once: pictures drawn at once, at most.
    """

    def __init__(
        self,
        prompts: Sequence[str],
        settings: SampleSettings,
        model: ModelSettings,
        encoding: PromptEncoding,
        at_once: int = DRAWN,
    ) -> None:
        side = model.resolution
        # The first few pictures, which a model card shows, are of different prompts.
        seeds = dict.fromkeys(settings.seeds)
        self.jobs = [DrawJob(prompt, seed, side, side) for seed in seeds for prompt in prompts]
        self.settings, self.model, self.encoding, self.at_once = settings, model, encoding, at_once
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
        steps, guidance = self.settings.steps, self.settings.guidance
        advice = "train.samples.every=0 draws none while training; the training itself goes on"
        batch = Batch(min(self.at_once, len(self.jobs)), "drawing samples", advice=advice)
        # The text encoders stay as they are: what they read once, they need not come onto the device for again.
        family = self._family = self._family or PromptCache(module.family)
        prompts = ["", *(job.prompt for job in self.jobs)]
        told = None
        while told is None:
            told = batch.attempt(lambda: family.encode_prompts(prompts, self.encoding))
        with module.autocast():
            drawn = draw(
                family, self.jobs, steps, guidance, batch_size=batch, encoding=self.encoding, before_each=before_each
            )
            pictures = list(drawn)
        files = self.files(folder)
        for job, picture, path in zip(self.jobs, pictures, files.values(), strict=True):
            text = format_infotext(
                job,
                steps,
                guidance,
                model=Path(self.model.path).name,
                clip_skip=self.encoding.clip_skip,
                model_hash=compute_short_hash(self.model.path, module.family.facts["hash"]),
            )
            save_picture(picture, path, text)
        return files

    def files(self, folder: Path) -> dict[str, Path]:
        """Caption -> file, of what `draw` writes into `folder`."""
        return {_title(number, job): folder / f"{number:02d}.png" for number, job in enumerate(self.jobs)}

    def table(self, folder: Path) -> tuple[list[str], list[list[object]]]:
        """Columns and rows of what was drawn so far, below the run's samples: a row a step, a column a
        prompt and seed.
        """
        rows = [
            [int(step.name.rpartition("-")[2]), *sorted(step.glob("*.png"))] for step in sorted(folder.glob("step-*"))
        ]
        columns = ["step", *(_title(number, job) for number, job in enumerate(self.jobs))]
        return columns, [row for row in rows if len(row) == len(columns)]


def _title(number: int, job: DrawJob) -> str:
    return f"{number:02d} {job.prompt}, seed {job.seed}"
