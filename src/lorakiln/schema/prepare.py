"""`prepare`: from raw pictures to decoded, oriented, sRGB pictures in buckets."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lorakiln.schema.base import LARGEST_SIDE, Name, Settings
from lorakiln.schema.marks import Decides, Names, Private

Shade = Annotated[float, Field(ge=-10, le=10)]
Spread = Annotated[float, Field(gt=0, le=1000)]


class BucketSettings(Settings, decides=Decides.PIXELS):
    """Aspect-ratio buckets by kohya's rule (sd-scripts, BucketManager)."""

    enable: bool = Field(True, description="false: every picture is cropped to resolution x resolution")
    min: int = Field(gt=0, le=LARGEST_SIDE, description="shortest side of a bucket, pixels")
    max: int = Field(gt=0, le=LARGEST_SIDE, description="longest side of a bucket, pixels")
    step: int = Field(gt=0, le=LARGEST_SIDE, description="sides are multiples of this, pixels")
    no_upscale: bool = Field(False, description="never enlarge; a small picture gets a bucket of its own size")


class FaceSettings(Settings, decides=Decides.NOTES):
    """Faces, for encode.augment.crop=face; see docs/augmentation.md for what a detector must be."""

    detector: Annotated[str | None, Private.PATH, Names("network", "face detector")] = Field(
        None, description="an ONNX file of UltraFace's form; null: no faces are looked for"
    )
    least_score: float = Field(0.7, gt=0, lt=1, description="what the detector gives less is no face")
    closest: float = Field(
        2.0, ge=1, le=100, description="the shorter side of the closest crop, in multiples of the face's longer side"
    )
    widest: float = Field(4.0, ge=1, le=100, description="the same of the widest crop")

    @model_validator(mode="after")
    def _closest_is_closer(self) -> "FaceSettings":
        if self.closest > self.widest:
            raise ValueError(f"closest {self.closest:g} must not be above widest {self.widest:g}: both count faces")
        return self


class UpscaleSettings(Settings, decides=Decides.PIXELS):
    """Small pictures are enlarged by a network first; see docs/augmentation.md for what it must be."""

    network: Annotated[str | None, Private.PATH, Names("network", "upscaler")] = Field(
        None, description="an ONNX file of Real-ESRGAN's form, or SwinIR's; null: they are enlarged by Lanczos"
    )
    above: float = Field(
        1.0, ge=1, le=100, description="pictures that would be enlarged by more than this are given to it"
    )
    tile: int = Field(
        256, ge=64, le=4096, description="sides of the squares that it is given at once at most, pixels; in eights"
    )


class SegmentSettings(Settings, decides=Decides.NOTES):
    """Masks by a network, of the pictures that have no other; see docs/datasets.md for what it must be."""

    network: Annotated[str | None, Private.PATH, Names("network", "segmenter")] = Field(
        None, description="an ONNX file of rembg's form, such as U2-Net; null: no masks are made"
    )
    mean: Annotated[tuple[Shade, Shade, Shade], Field(strict=False)] = Field(  # YAML has lists alone
        (0.485, 0.456, 0.406), description="taken off red, green and blue from 0 to 1"
    )
    std: Annotated[tuple[Spread, Spread, Spread], Field(strict=False)] = Field(
        (0.229, 0.224, 0.225), description="what is left is divided by this"
    )


Level = Literal["error", "warn", "off"]


class FindingSettings(Settings, decides=Decides.DATASET):
    """What is made of each thing that may be wrong: error refuses before anything is trained, with all pictures named;
    warn tells it; off does not look. See docs/datasets.md."""

    too_small: Annotated[Level, Decides.NOTES] = Field(
        "error", description="pictures with a side below prepare.min_side; error: as any file that cannot be used"
    )
    enlarged: Level = Field("warn", description="enlarged by more than prepare.enlarged_above")
    blurred: Level = Field("warn", description="more blurred than prepare.blurred_above")
    border: Level = Field("warn", description="bars along the sides, more than prepare.border_above")
    cropped: Level = Field("warn", description="the bucket cuts off more than prepare.cropped_above")
    black_mask: Level = Field("warn", description="a mask by which nothing is learned")
    same_file: Level = Field("warn", description="files with the same content")
    look_alike: Level = Field("warn", description="different files that look the same")
    in_both_sets: Level = Field("warn", description="the same, or alike, for training and for regularisation")
    misnamed: Level = Field("warn", description="pictures that are not taken, for their endings are no picture's")
    small_bucket: Level = Field(
        "warn", description="fewer pictures in a bucket than in a batch; error: the training refuses"
    )


class PrepareSettings(Settings, decides=Decides.PIXELS):
    dataset: Annotated[Name, Decides.DATASET, Private.NAME, Names("pictures", "pictures or captions")] = Field(
        pattern=r"^[^/\\\s][^/\\]*$", description="the folder below data/raw"
    )
    source: Annotated[str, Decides.DATASET, Private.NO] = Field(
        "auto",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
        description="what the dataset's folder is read as: folder (of pictures), kohya_tree (N_identifier class), "
        "kohya_config (a .toml of datasets and subsets), dataset_config (dataset.yaml), webdataset (shards, *.tar), "
        "hf_dataset (tables of pictures, *.parquet or *.arrow), hub_dataset (hub.yaml names one of the Hub); auto: "
        "what it looks like",
    )
    resolution: int = Field(gt=0, le=LARGEST_SIDE, description="the side of the square whose area a bucket has, pixels")
    bucket: BucketSettings
    background: Annotated[str, Private.NO] = Field(
        "white", description="what shows through transparent pictures: a CSS colour"
    )
    masks: Annotated[Literal["auto", "files", "alpha", "none"], Decides.NOTES] = Field(
        "auto",
        description="what of a picture is to be learned, for train.objective.unmasked_weight: files, masks/NAME.png or "
        "NAME-masklabel.png; alpha, the picture's alpha channel; auto: a file where there is one, else alpha; for what "
        "has none prepare.segment makes one; none: not even that",
    )
    on_bad: Annotated[Literal["error", "skip"], Decides.DATASET] = Field(
        "error", description="what to do when files are unusable"
    )
    animated: Annotated[Literal["error", "first_frame"], Decides.NOTES] = "error"
    min_side: Annotated[int, Decides.NOTES] = Field(
        8, gt=0, le=LARGEST_SIDE, description="pictures with a shorter side are refused, pixels"
    )
    max_pixels: Annotated[int, Decides.NOTES] = Field(
        100_000_000, gt=0, le=10**10, description="larger pictures are refused, pixels"
    )
    max_aspect: Annotated[float, Decides.NOTES] = Field(
        6.0, ge=1, le=10_000, description="longer pictures are refused, long side / short side"
    )
    margin: Annotated[float | None, Decides.NOTES] = Field(
        None,
        ge=0,
        le=4,
        description="also keep every picture as it is before the crop, scaled this much larger than its bucket needs: "
        "0.25 is a quarter; null: the crop alone",
    )
    face: FaceSettings = FaceSettings()
    upscale: UpscaleSettings = UpscaleSettings()
    segment: SegmentSettings = SegmentSettings()
    domain: Annotated[Literal["any", "drawings"], Decides.DATASET] = Field(
        "any", description="what the model knows; drawings: pictures shaded like photographs get a warning"
    )
    findings: FindingSettings = FindingSettings()
    enlarged_above: Annotated[float, Decides.DATASET] = Field(
        2.0, ge=1, le=1e6, description="by what factor, for findings.enlarged"
    )
    blurred_above: Annotated[float, Decides.DATASET] = Field(
        0.5,
        ge=0,
        le=1,
        description="how much of the steps between neighbours a further blur would leave, for findings.blurred: 0.2 to "
        "0.4 is sharp",
    )
    border_above: Annotated[float, Decides.DATASET] = Field(
        0.02, ge=0, le=1, description="what share of the picture lies in bars, for findings.border"
    )
    cropped_above: Annotated[float, Decides.DATASET] = Field(
        0.25, ge=0, le=1, description="what share of the picture is cut off, for findings.cropped"
    )
    follow_symlinks: Annotated[bool, Decides.DATASET] = Field(
        False, description="accept links that lead out of the dataset's folder"
    )
    workers: Annotated[int | None, Decides.NOTHING] = Field(
        None, ge=1, le=512, description="processes; null: one per core"
    )

    @field_validator("dataset")
    @classmethod
    def _is_below(cls, value: str) -> str:
        if value in (".", ".."):
            raise ValueError("not a folder below data/raw")
        return value

    @field_validator("background")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        from PIL import ImageColor

        ImageColor.getrgb(value)
        return value

    @model_validator(mode="after")
    def _faces_are_kept(self) -> "PrepareSettings":
        if self.face.detector is not None and self.margin is None:
            raise ValueError(
                "face.detector without margin: crops around a face come from the uncropped picture, which only "
                "prepare.margin keeps; set prepare.margin=0.25"
            )
        return self

    @model_validator(mode="after")
    def _bucket_holds_resolution(self) -> "PrepareSettings":
        check_resolution(self.resolution, self.bucket)
        return self


def check_resolution(side: int, bucket: BucketSettings) -> None:
    """Raise ValueError if buckets cannot have this resolution, or this side of one; pixels."""
    if side % bucket.step:
        raise ValueError(f"resolution {side} must be a multiple of bucket.step {bucket.step}")
    if bucket.enable and not bucket.min <= side <= bucket.max:
        raise ValueError(f"bucket.min {bucket.min} <= resolution {side} <= bucket.max {bucket.max} must hold")
