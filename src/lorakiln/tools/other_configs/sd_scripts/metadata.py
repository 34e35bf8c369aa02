"""The program's options of a file's metadata."""

import json
import re
from typing import Any

from lorakiln.tools.other_configs.imported import read_value

# Of the metadata: counts and dates that nobody sets.
RECORDED = re.compile(
    r"session_id|training_\w+_at|num_\w+|epoch|steps|sd_model_hash|new_sd_model_hash|\w*vae_hash|\w*vae_name|dataset_dirs"
    r"|reg_dataset_dirs|tag_frequency|bucket_info|sd_scripts_commit_hash|datasets|training_comment"
    r"|cache_latents|lowram|full_fp16|metadata|sd_model_name|sshs_\w+"
)
# And of its datasets.
COUNTED = re.compile(r"is_dreambooth|num_\w+_images|tag_frequency|bucket_info|img_count|metadata_file")


def read_training_metadata(options: dict[str, Any]) -> dict[str, Any]:
    """The program's options of its ss_ keys."""
    found = {name: read_value(value) if name != "network_args" else value for name, value in options.items()}
    found["train_batch_size"] = found.pop("batch_size_per_device", None) or found.pop("total_batch_size", None) or 1
    found["optimizer_type"] = found.pop("optimizer", None)
    # "torch.optim.AdamW(weight_decay=0.05,betas=(0.9, 0.99))"
    found["optimizer_args"] = dict(re.findall(r"(\w+)=(\([^)]*\)|[^,)]+)", str(found["optimizer_type"])))
    found["debiased_estimation_loss"] = found.pop("debiased_estimation", None)
    if found.get("sd_model_name"):
        found["pretrained_model_name_or_path"] = found["sd_model_name"]
    if listed := json.loads(options.get("datasets") or "[]"):
        found["dataset_config"] = {"datasets": [_read_dataset(one) for one in listed]}
    else:
        folders = json.loads(options.get("dataset_dirs") or "{}")
        if len(folders) == 1:
            (name, counts), *_ = folders.items()
            found["train_data_dir"] = re.sub(r"^\d+_", "", name)
            found["dataset_repeats"] = counts.get("n_repeats", 1)
    if found.get("max_train_steps") and found.get("num_epochs"):
        found.pop("max_train_epochs", None)
    return {name: value for name, value in found.items() if not RECORDED.fullmatch(name) or name == "metadata"}


def _read_dataset(recorded: dict[str, Any]) -> dict[str, Any]:
    """A dataset of a dataset config, of what is recorded of it."""
    dataset = {name: one for name, one in recorded.items() if not COUNTED.fullmatch(name)}
    dataset["batch_size"] = dataset.pop("batch_size_per_device", 1)
    subsets = [{name: one for name, one in each.items() if not COUNTED.fullmatch(name)} for each in recorded["subsets"]]
    return {**dataset, "subsets": subsets}
