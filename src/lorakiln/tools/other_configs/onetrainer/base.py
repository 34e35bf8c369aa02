"""What OneTrainer's configs say of the base: its files, its precision, its memory, and what it draws meanwhile."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported, is_off

PRECISIONS = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
# Types of fewer bits, of the network that draws. Those with A8 also compute in 8 bits, which is not done here.
QUANTIZED = {
    "FLOAT_8": "fp8",
    "FLOAT_W8A8": "fp8",
    "INT_8": "int8",
    "INT_W8A8": "int8",
    "NFLOAT_4": "nf4",
}


def take_base(imported: Imported, options: Mapping[str, Any]) -> None:
    """Take what is said of the networks as they lie there, and of pictures that are drawn in training."""
    settings = imported.settings
    if precision := PRECISIONS.get(str(options.get("train_dtype"))):
        settings["train.trainer.precision"] = precision
    unet, vae = (_section(options, name) for name in ("unet", "vae"))
    # Newer versions have it in each part, older ones a switch, and where nothing is said it is on.
    checkpointing = unet.get("gradient_checkpointing", options.get("gradient_checkpointing", "ON"))
    if checkpointing is not False and str(checkpointing) != "OFF":
        settings["train.trainer.gradient_checkpointing"] = True
    kind = str(unet.get("weight_dtype") or "NONE")
    kind = str(options.get("weight_dtype") or "NONE") if kind == "NONE" else kind
    if bits := QUANTIZED.get(kind):
        settings["train.trainer.quantize"] = bits
        imported.decided.append(f"train.trainer.quantize is {bits}, for the unet's weight_dtype {kind}")
        if layers := _section(options, "quantization").get("layer_filter"):
            why = "all linear layers of the network are of fewer bits, or none: train.trainer.quantize"
            imported.leave("quantization.layer_filter", layers, why)
    elif kind not in ("NONE", "TFLOAT_32", *PRECISIONS):
        imported.leave("unet.weight_dtype", kind, "train.trainer.quantize is fp8, int8 or nf4")
    if file := vae.get("model_name"):
        settings["model.vae"] = file
    _take_samples(imported, options.get("samples"))


def _take_samples(imported: Imported, samples: Any) -> None:
    drawn = [one for one in samples or () if isinstance(one, dict) and one.get("enabled", True) and one.get("prompt")]
    if not drawn:
        return
    imported.settings["train.samples.prompts"] = [str(one["prompt"]) for one in drawn]
    for name, setting in (("diffusion_steps", "train.samples.steps"), ("cfg_scale", "train.samples.guidance")):
        values = {one[name] for one in drawn if not is_off(one.get(name))}
        if len(values) == 1:
            imported.settings[setting] = values.pop()
    if any(one.get("negative_prompt") for one in drawn):
        why = "prompts alone are taken; a file of them has negatives, sizes and seeds: train.samples.file"
        imported.leave("samples.negative_prompt", len(drawn), why)


def _section(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = options.get(name)
    return found if isinstance(found, dict) else {}
