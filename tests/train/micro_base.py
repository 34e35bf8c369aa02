"""A micro model that predicts what is asked for, and its pictures, some of them with masks and for regularisation."""

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.families import load_family
from lorakiln.schema.model import ModelSettings
from tests.conftest import write_micro_encoded, write_micro_model, write_text

NOISE = {"_class_name": "DDPMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def write_base(folder, prediction):
    """The model's settings, and the folder of the encoded pictures."""
    write_micro_model(folder / "sd")
    write_text(folder / "sd/scheduler/scheduler_config.json", {**NOISE, "prediction_type": prediction})
    model = ModelSettings(
        family="sd",
        path=str(folder / "sd"),
        resolution=32,
        bucket_min=16,
        bucket_max=64,
        bucket_step=16,
        captioner={"path": "models/tiny/blip"},
        clip={"path": "models/tiny/clip"},
    )
    write_micro_encoded(folder / "encoded", model, load_family(model))
    return model, folder / "encoded"


def add_masks(encoded, regularising):
    """Give every picture a mask of its own, of zeros, halves and ones, flipped with it; `regularising` rows by name."""
    index = read_json(encoded / "index.json")
    for bucket in index["buckets"]:
        tensors = load_tensors(encoded / bucket["file"])[0]
        count, _, _, height, width = tensors["latent_mean"].shape
        mask = (tensors["latent_mean"][:, 0, 0] * 2).round().clamp(0, 2) / 2
        tensors["loss_mask"] = mask.new_empty(count, 2, height, width)
        tensors["loss_mask"][:, 0], tensors["loss_mask"][:, 1] = mask, mask.flip(-1)
        save_tensors(encoded / bucket["file"], dict(tensors))
        for row in bucket["rows"]:
            row |= {"is_reg": True} if row["file_name"] in regularising else {}
    write_json(encoded / "index.json", index)
