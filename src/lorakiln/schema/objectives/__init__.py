"""`train.objective`: one file for the settings of each kind of loss, with what decides weights and noise beside it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.registry import Registry


class ObjectiveSettings(Settings, decides=Decides.WEIGHTS):
    """What every objective has, whatever its loss; a noise process refuses by name what it has not.

    Attributes:
        has_threshold: whether the kind's loss is one thing for small differences and another for large ones.
    """

    has_threshold: ClassVar[bool] = False

    kind: Annotated[str, Private.NO] = Field("mse", description="the loss between prediction and target")
    huber_delta: float = Field(0.1, gt=0, le=1e6, description="of huber and smooth_l1: from where on it grows like |d|")
    huber_schedule: Literal["constant", "exponential", "snr"] = Field(
        "constant", description="how huber_delta depends on the noise: it grows to about 1 where there is little"
    )
    huber_scale: float = Field(1.0, gt=0, le=1e6, description="a factor on it, of constant and exponential")

    min_snr_gamma: float | None = Field(
        None, gt=0, le=1e6, description="Min-SNR weighting, arXiv 2303.09556; 5 is usual"
    )
    debiased_estimation: bool = Field(False, description="weighting by 1/sqrt(SNR), arXiv 2310.08442")
    p2_gamma: float | None = Field(None, gt=0, le=100, description="P2 weighting, arXiv 2204.00227; 1 is usual")
    p2_k: float = Field(1.0, gt=0, le=1e6, description="of P2")
    v_pred_like_loss: float = Field(0.0, ge=0, le=1e6, description="how much of a v-prediction's loss epsilon's gets")
    scale_v_pred_loss_like_noise_pred: bool = Field(False, description="v's loss weighs as epsilon's does")

    noise_offset: float = Field(0.0, ge=0, le=1, description="0.05 to 0.1 are usual; lets pictures be dark or bright")
    noise_offset_random: bool = Field(False, description="of each picture another offset, from 0 to noise_offset")
    multires_noise_iterations: int = Field(
        0, ge=0, le=64, description="coarser noises that are added; 6 to 10 are usual"
    )
    multires_noise_discount: float = Field(0.3, ge=0, le=1, description="what each is multiplied by, of the one before")
    ip_noise_gamma: float = Field(0.0, ge=0, le=1, description="input perturbation, arXiv 2301.11706; 0.1 is usual")
    ip_noise_gamma_random: bool = Field(False, description="of each picture another one, from 0 to ip_noise_gamma")
    zero_terminal_snr: bool = Field(False, description="rescale the noise schedule to end in noise, arXiv 2305.08891")

    caption_dropout: float = Field(0.0, ge=0, le=1, description="how often a caption is replaced by the empty one")
    caption_dropout_every_epochs: int = Field(
        0, ge=0, le=MANY, description="in every so-many-th epoch all captions are; 0: in none"
    )

    min_timestep: int = Field(0, ge=0, le=MANY)
    max_timestep: int | None = Field(None, ge=1, le=MANY, description="exclusive; null: the model's last")
    timestep_density: Literal["uniform", "logit_normal", "cubic"] = Field(
        "uniform", description="how often which timestep is trained on; cubic: the noisy ones more often"
    )
    logit_mean: float = Field(0.0, ge=-100, le=100, description="of logit_normal; above 0: the noisy ones more often")
    logit_std: float = Field(1.0, gt=0, le=100, description="of logit_normal")

    unmasked_weight: float = Field(
        1.0, ge=0, le=1, description="what the loss outside of a picture's mask weighs; 1: masks are not looked at"
    )
    normalize_masked_area: bool = Field(False, description="a picture weighs the same however small its mask is")
    prior_loss_weight: float = Field(1.0, ge=0, le=1e6, description="what the loss of a regularisation picture weighs")

    @model_validator(mode="after")
    def _means_something(self) -> "ObjectiveSettings":
        usual = type(self).model_fields
        weightings = [
            name
            for name in ("min_snr_gamma", "debiased_estimation", "p2_gamma")
            if getattr(self, name) not in (None, False)
        ]
        if len(weightings) > 1:
            raise ValueError(f"{' and '.join(weightings)}: each is a weighting of its own, take one of them")
        if self.scale_v_pred_loss_like_noise_pred and weightings and weightings != ["p2_gamma"]:
            raise ValueError(
                f"scale_v_pred_loss_like_noise_pred has no meaning with {weightings[0]}: it weighs v as epsilon already"
            )
        # What says how something is done, and what does it.
        for name, meant, needs in (
            ("p2_k", self.p2_gamma is not None, "p2_gamma"),
            ("noise_offset_random", self.noise_offset, "a noise_offset above 0"),
            ("multires_noise_discount", self.multires_noise_iterations, "multires_noise_iterations above 0"),
            ("ip_noise_gamma_random", self.ip_noise_gamma, "an ip_noise_gamma above 0"),
            ("logit_mean", self.timestep_density == "logit_normal", "timestep_density=logit_normal"),
            ("logit_std", self.timestep_density == "logit_normal", "timestep_density=logit_normal"),
            ("normalize_masked_area", self.unmasked_weight < 1, "an unmasked_weight below 1"),
            ("huber_schedule", self.has_threshold, "a loss that has a threshold, huber or smooth_l1"),
            ("huber_scale", self.has_threshold, "a loss that has a threshold, huber or smooth_l1"),
            ("huber_scale", self.huber_schedule != "snr", "huber_schedule=constant or exponential"),
        ):
            if not meant and getattr(self, name) != usual[name].default:
                raise ValueError(f"{name} {getattr(self, name)} has no meaning without {needs}")
        return self

    def list_changes(self) -> dict[str, Any]:
        """The settings that are not as they are by default, the kind aside."""
        fields = type(self).model_fields
        return {
            name: getattr(self, name)
            for name, field in fields.items()
            if name != "kind" and getattr(self, name) != field.default
        }


# Those of them that mean something for some noise processes alone.
NOISE = (
    "min_snr_gamma",
    "debiased_estimation",
    "p2_gamma",
    "v_pred_like_loss",
    "scale_v_pred_loss_like_noise_pred",
    "noise_offset",
    "multires_noise_iterations",
    "ip_noise_gamma",
    "zero_terminal_snr",
    "min_timestep",
    "max_timestep",
    "timestep_density",
)
OBJECTIVES: Registry[Any] = Registry(
    "objective", code="lorakiln.diffusion.losses", settings=__name__, base=ObjectiveSettings
)
