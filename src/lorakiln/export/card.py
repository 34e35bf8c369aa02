"""The model card: README.md as the Hugging Face Hub shows it."""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from lorakiln.export.previews import Preview
from lorakiln.schema.export import ExportSettings

CARD = """\
# {name}

A LoRA of rank {rank} (alpha {alpha:g}) for `{base}`, trained on {pictures} pictures with LoRAKiln.

{warning}{gallery}## Trigger words

{trigger}

## Use

**A1111, Forge:** put `{name}.safetensors` into `models/Lora` and write `<lora:{name}:1>` in the prompt.

**ComfyUI:** put it into `models/loras` and add a *Load LoRA* node.

**diffusers:**

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{base}")
pipe.load_lora_weights("diffusers")  # this folder's `diffusers`, or "{name}.safetensors"
image = pipe({prompt}).images[0]
```

## Training

| | |
|---|---|
{table}

Every layer of the files was read back as {clients} find it, and compared with what was trained: the largest relative
difference of a weight change is {difference:g}.
"""


def model_card(
    facts: dict[str, Any], rows: Sequence[dict[str, Any]], previews: Sequence[Preview], settings: ExportSettings
) -> str:
    """The card's text: front matter for the Hub, then what a reader needs.

    Args:
        facts: the export's facts.json.
        rows: the captioned pictures; their captions appear unless `settings.private`.
        previews: what was copied beside the card.
    """
    trigger = facts["trigger"]
    prompt = rows[0]["text"] if rows and not settings.private else trigger
    body = CARD.format(
        name=facts["name"],
        rank=facts["rank"],
        alpha=facts["alpha"],
        base=facts["base"]["path"],
        pictures=facts["dataset"]["pictures"] - facts["held_out"],
        warning=_warning(facts["dataset"].get("out_of_domain")),
        gallery=_gallery(previews, facts["strength"]),
        trigger=f"`{trigger}`" if trigger else "None: the LoRA acts on every prompt.",
        prompt=json.dumps(prompt, ensure_ascii=False),
        table="\n".join(f"| {key} | {value} |" for key, value in _table(facts, settings.private).items()),
        clients=", ".join(facts["checked"]["clients"]),
        difference=facts["checked"]["largest_relative_difference"],
    )
    return f"---\n{_front_matter(facts, previews, settings)}---\n\n{body}"


def _front_matter(facts: dict[str, Any], previews: Sequence[Preview], settings: ExportSettings) -> str:
    matter: dict[str, Any] = {
        "base_model": facts["base"]["path"],
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora"],
    }
    if facts["trigger"]:
        matter["instance_prompt"] = facts["trigger"]
    if settings.license:
        matter["license"] = settings.license
    if previews:
        matter["widget"] = [{"text": one.prompt, "output": {"url": one.path}} for one in previews]
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)


def _warning(text: str | None) -> str:
    return f"> **Warning:** {text}\n\n" if text else ""


def _gallery(previews: Sequence[Preview], strength: float) -> str:
    if not previews:
        return ""
    pictures = " ".join(f"![sample {number}]({one.path})" for number, one in enumerate(previews, 1))
    full = "" if strength == 1 else ", at full strength"
    return f"{pictures}\n\nDrawn while training, at step {previews[0].step}{full}.\n\n"


def _table(facts: dict[str, Any], private: bool) -> dict[str, Any]:
    train, prepare = facts["settings"]["train"], facts["settings"]["prepare"]
    table = {
        "step": f"{facts['step']} of {train['steps']}",
        "batch size": train["batch_size"],
        "learning rate": f"{train['optimizer']['lr']:g}, {train['scheduler']['kind']}",
        "optimizer": train["optimizer"]["kind"],
        "seed": train["seed"],
        "resolution": prepare["resolution"],
        "base model's identity": f"`{facts['base']['hash'][:16]}`",
        "dataset's identity": f"`{facts['dataset']['hash'][:16]}`",
    }
    if facts["strength"] != 1:
        table["strength"] = f"{facts['strength']:g} of what was trained, at weight 1"
    if not private:
        table["dataset"] = facts["dataset"]["name"]
    return table
