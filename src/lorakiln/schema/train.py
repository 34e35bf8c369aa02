"""`train`: the adapter, the objective, and how it is optimised, watched and saved."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.adapters import ADAPTERS, AdapterSettings
from lorakiln.schema.base import MANY, Seed, Settings
from lorakiln.schema.intervals import Interval
from lorakiln.schema.marks import HERE, Decides, Names, Private
from lorakiln.schema.objectives import OBJECTIVES, ObjectiveSettings
from lorakiln.schema.optimizers import OPTIMIZERS, AdaptiveSettings, OptimizerSettings
from lorakiln.schema.schedules import SCHEDULES, SchedulerSettings
from lorakiln.schema.text_encoders import TextEncodersSettings
from lorakiln.schema.tokens import TokenSettings
from lorakiln.schema.trackers import TRACKERS, TrackerSettings

USUAL_STEPS = 1000  # where neither steps nor epochs are set


class TrainerSettings(Settings, decides=Decides.ROUNDING):
    accelerator: Literal["cpu", "gpu", "auto"]
    devices: int = Field(1, ge=1, le=1024)
    num_nodes: int = Field(1, ge=1, le=1024)
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Decides.WEIGHTS, HERE] = Field(
        "auto",
        description="of the frozen base, the adapter is always fp32; auto: bf16 on a GPU that has it, fp16 with loss "
        "scaling on an older one, fp32 on a CPU",
    )
    quantize: Annotated[Literal["none", "fp8", "int8", "nf4"], Decides.WEIGHTS] = Field(
        "none", description="what the frozen base's linear layers are stored in; nf4 is QLoRA's, by bitsandbytes"
    )
    threads: int | None = Field(None, ge=1, le=512, description="CPU threads of each process; null: torch's own choice")
    gradient_checkpointing: bool = False
    attention: Literal["auto", "math", "flash", "efficient", "cudnn"] = Field(
        "auto", description="torch's kernel for it; auto: the fastest that there is for the device and the precision"
    )


class ValidationSettings(Settings, decides=Decides.HELD_OUT):
    """Loss on held-out pictures with fixed noise and timesteps."""

    every: Annotated[Interval, Decides.HELD_OUT | Decides.MOMENTS, Private.NO] = Field(
        100, description='steps, or epochs as in "2 epochs"; 0: never'
    )
    fraction: float = Field(0.1, ge=0, lt=1, description="of the pictures, rounded; at least one of 8 or more")
    draws: Annotated[int, Decides.RECORD] = Field(
        16, ge=1, le=100_000, description="(noise, timestep) pairs per held-out picture"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="which pictures are held out: the same whatever train.seed is")


class SampleSettings(Settings, decides=Decides.RECORD):
    """Pictures made while training."""

    every: Annotated[Interval, Decides.MOMENTS, Private.NO] = Field(
        100, description='steps, or epochs as in "2 epochs"; 0: never'
    )
    prompts: Annotated[list[str], Private.WORDS] = Field(default_factory=list)
    file: Annotated[str | None, Private.PATH, Names("prompts", "file of sample prompts")] = Field(
        None, description="of prompts in their place, with sizes, seeds and the like: .txt, .json or .toml"
    )
    seeds: list[Seed] = Field([0, 1], min_length=1, description="each prompt is drawn from each")
    steps: int = Field(20, ge=1, le=MANY, description="of denoising; at most the model's, 1000")
    guidance: float = Field(5.0, ge=0, le=1000)

    @model_validator(mode="after")
    def _one_source(self) -> "SampleSettings":
        if self.prompts and self.file is not None:
            raise ValueError("prompts and file are both set; put all prompts into the file, or set prompts=[]")
        return self


class EarlyStoppingSettings(Settings, decides=Decides.MOMENTS):
    """The training ends where the validation loss falls no more; see `train.early_stopping`."""

    patience: int | None = Field(
        None, ge=1, le=MANY, description="validations in a row that may be no gain; null: the training goes to its end"
    )
    least_gain: float = Field(0.0, ge=0, le=1e9, description="by so much the loss must fall below the lowest so far")
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="of the losses that are compared, an exponential moving average; 0: none"
    )


class EmaSettings(Settings, decides=Decides.WEIGHTS):
    """The exponential moving average of the adapter's weights; see `train.ema`."""

    decay: float | None = Field(None, gt=0, lt=1, description="how much of it stays in a step; null: there is none")
    start: int = Field(0, ge=0, le=MANY, description="steps before which it is the weights themselves")
    warmup: bool = Field(True, description="the decay after k steps is at most (1 + k) / (10 + k)")


class TrainSettings(Settings, decides=Decides.WEIGHTS):
    seed: int = Field(0, ge=0, lt=2**32)
    steps: Annotated[int | None, HERE] = Field(
        None, ge=1, le=MANY, description=f"optimizer steps; null: as epochs say, or {USUAL_STEPS:,}"
    )
    epochs: Annotated[float | None, HERE] = Field(
        None, gt=0, le=MANY, description="in place of steps: how often each picture is seen, times repeats"
    )
    batch_size: int = Field(ge=1, le=MANY, description="pictures per optimizer step, over all devices together")
    micro_batch: Annotated[int | None, Decides.ROUNDING] = Field(
        None, ge=1, le=MANY, description="pictures a device takes at once; null: all its share"
    )
    repeats: Annotated[int, Decides.FILE] = Field(
        1,
        ge=1,
        le=1_000_000,
        description="how often an epoch shows each picture: what is counted in epochs gets so much longer",
    )
    max_grad_norm: float | None = Field(1.0, gt=0, le=1e9)
    deterministic: Annotated[bool, Decides.ROUNDING] = False
    save_every: Annotated[Interval, Decides.MOMENTS, Private.NO] = Field(
        0, description='steps between saved adapters, or epochs as in "1 epoch"; 0: the last alone'
    )
    keep_last: Annotated[int | None, Decides.MOMENTS] = Field(
        None, ge=1, le=MANY, description="saved adapters that are kept, beside the best of them; null: all"
    )
    keep_best: Annotated[bool, Decides.MOMENTS] = Field(
        False, description="save the adapter of the lowest validation loss too, whenever that was"
    )
    checkpoint_every: Annotated[int, Decides.NOTHING] = Field(
        100, ge=0, le=MANY, description="steps between resumable checkpoints; 0: only when stopped"
    )
    checkpoint_minutes: Annotated[float, Decides.NOTHING] = Field(
        10.0, ge=0, le=1e6, description="and at least this often, minutes; 0: never by time"
    )
    parts: Annotated[list[str] | None, Private.NO] = Field(
        None,
        description="what is trained of the base, by its name in LoRA files: the network that draws, text encoders; "
        "null: that network alone; none, [], with tokens alone",
    )
    text_encoders: TextEncodersSettings = TextEncodersSettings()
    tokens: Annotated[dict[str, TokenSettings], Private.TRIGGER] = Field(
        default_factory=dict,
        description="new words of the captions whose vectors are trained, beside the parts: {mydog: {init: dog}}",
    )
    adapter: Annotated[AdapterSettings, ADAPTERS.chosen()]
    objective: Annotated[ObjectiveSettings, OBJECTIVES.chosen()]
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS.chosen()]
    scheduler: Annotated[SchedulerSettings, SCHEDULES.chosen()]
    trainer: TrainerSettings
    tracker: Annotated[TrackerSettings, Private.NAME, TRACKERS.chosen()]
    ema: EmaSettings = EmaSettings()
    validation: ValidationSettings
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()
    samples: SampleSettings

    @model_validator(mode="after")
    def _batch_divides(self) -> "TrainSettings":
        world = self.trainer.devices * self.trainer.num_nodes
        unit = world * (self.micro_batch or 1)
        if self.batch_size % unit:
            below, above = self.batch_size // unit * unit, (self.batch_size // unit + 1) * unit
            near = f"{below} or {above}" if below else str(above)
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of devices x micro_batch = {unit}; nearest: {near}"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Optimizer steps, of settings whose epochs are counted (`train.length`).

        Raises:
            ValueError: they are not.
        """
        if self.epochs is not None:
            raise ValueError(f"{self.epochs:g} epochs: how many steps that is depends on the pictures")
        return USUAL_STEPS if self.steps is None else self.steps

    @property
    def draws(self) -> bool:
        """Whether anything in an adapter is drawn by chance while it trains."""
        return self.adapter.draws or any(self.text_encoders.choose(part).dropout for part in self.parts or ())

    @property
    def keeps_best(self) -> bool:
        """Whether the adapter of the lowest validation loss is saved whenever it is measured."""
        return self.keep_best or self.early_stopping.patience is not None

    @model_validator(mode="after")
    def _one_length(self) -> "TrainSettings":
        if self.epochs is not None and self.steps is not None:
            raise ValueError(
                f"steps {self.steps} and epochs {self.epochs:g} are both set; set train.steps=null to train by epochs, "
                "or train.epochs=null"
            )
        return self

    @model_validator(mode="after")
    def _encoders_are_trained(self) -> "TrainSettings":
        told, own = self.text_encoders, self.text_encoders.own
        if self.parts is None and told != TextEncodersSettings():
            name = next(name for name in type(told).model_fields if getattr(told, name) not in (None, {}))
            raise ValueError(
                f"text_encoders.{name} is set, and no text encoder is trained: name one in parts, or leave it out"
            )
        if self.parts is not None and len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts names one twice: {', '.join(self.parts)}")
        if absent := sorted(set(own) - set(self.parts or ())):
            raise ValueError(f"text_encoders.own names {absent[0]}, which is not among parts: {self.parts}")
        for part in self.parts or ():
            rate, other = told.choose(part).lr, self.optimizer.part_lrs.get(part)
            if rate is not None and other is not None:
                raise ValueError(
                    f"{part} has two learning rates, text_encoders' {rate:g} and optimizer.part_lrs' {other:g}: "
                    "leave one out"
                )
            if rate not in (None, 0, self.optimizer.lr) and self.optimizer.finds_rate:
                raise ValueError(
                    f"{self.optimizer.kind} finds one rate for all parts, so that text encoders can have "
                    f"text_encoders.lr 0, or the lr {self.optimizer.lr:g} alone"
                )
        return self

    @model_validator(mode="after")
    def _tokens_are_words(self) -> "TrainSettings":
        if self.parts == [] and not self.tokens:
            raise ValueError("parts is empty, and no tokens are trained either: name a part, or words in tokens")
        seen: set[str] = set()
        for word, one in self.tokens.items():
            if not word.strip() or word != word.strip() or "." in word or any(mark in word for mark in "()[]:\\"):
                raise ValueError(
                    f"tokens names {word!r}: a word holds no dot and no bracket, colon or backslash, which mean "
                    "something in files and prompts, and no space at its ends"
                )
            if word.lower() in seen:
                raise ValueError(f"tokens names {word!r} twice: text encoders read no capitals")
            seen.add(word.lower())
            if one.lr not in (None, self.optimizer.lr) and self.optimizer.finds_rate:
                raise ValueError(
                    f"{self.optimizer.kind} finds one rate for all weights, and tokens.{word}.lr {one.lr:g} asks for "
                    "its own: leave it out"
                )
            if one.max_norm is not None and self.optimizer.kind == "schedule_free":
                raise ValueError(
                    f"tokens.{word}.max_norm means nothing with the optimizer schedule_free, which keeps other weights "
                    "too: set it to null"
                )
        return self

    @model_validator(mode="after")
    def _one_rate_where_one_is_found(self) -> "TrainSettings":
        ratio: float = getattr(self.adapter, "rate_ratio", 1.0)  # LoRA's kinds alone have it
        if isinstance(self.optimizer, AdaptiveSettings) and ratio != 1:
            raise ValueError(
                f"optimizer {self.optimizer.kind} finds one rate for all weights, and adapter.rate_ratio {ratio:g} "
                "asks for two: set adapter.rate_ratio to 1, or take another optimizer"
            )
        return self

    @model_validator(mode="after")
    def _weights_move_one_way(self) -> "TrainSettings":
        """Of settings in two sections that would each have the weights move their own way."""
        optimizer, adapter = self.optimizer, self.adapter
        averages = optimizer.kind == "schedule_free"
        for name, meant, why in (
            (
                "ema.decay",
                averages and self.ema.decay is not None,
                "takes the mean of its weights itself: set it to null",
            ),
            (
                "adapter.max_norm",
                averages and getattr(adapter, "max_norm", None),
                "keeps other weights too: set it to null",
            ),
        ):
            if meant:
                raise ValueError(f"{name} means nothing with the optimizer {optimizer.kind}, which {why}")
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> "TrainSettings":
        # Those that a fraction comes to are never more.
        if self.epochs is None and self.scheduler.warmup_steps > self.total_steps:
            raise ValueError(
                f"scheduler.warmup_steps {self.scheduler.warmup_steps} is more than steps {self.total_steps}"
            )
        return self

    @model_validator(mode="after")
    def _best_is_measured(self) -> "TrainSettings":
        validated = self.validation.every and self.validation.fraction
        if self.keeps_best and not validated:
            name = "keep_best" if self.keep_best else "early_stopping.patience"
            raise ValueError(
                f"{name} goes by the validation loss, which is never measured; set train.validation.every and "
                "train.validation.fraction"
            )
        return self
