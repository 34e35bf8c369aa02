"""The model card: README.md as the Hugging Face Hub shows it."""

import json
import re
from collections.abc import Sequence
from typing import Any

from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.captions import make_plain_text
from lorakiln.diffusion.processes.ddpm import format_timestep_range
from lorakiln.export.previews import Preview
from lorakiln.facts.choice import Recommended
from lorakiln.facts.lora import LoraFacts
from lorakiln.families.kinds import find_version
from lorakiln.families.model_source import SINGLE_FILES
from lorakiln.lora_files.embeddings import name_file
from lorakiln.lora_files.training_facts import format_rates
from lorakiln.rows import CaptionedRow
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.strict_yaml import dump_yaml
from lorakiln.schema.train import TrainSettings

CARD = """\
# {title}

{what} for {base}, trained on {pictures} pictures with LoRAKiln.

{warning}{gallery}## Trigger words

{trigger}

## Use

{use}{words}{clip_skip}{diffusers}## Training

| | |
|---|---|
{table}

{checked}
"""
USE = """\
**A1111, Forge:** put {file} into `models/Lora` and write {tag} in the prompt.{span}

**ComfyUI:** put it into `models/loras` and add a *Load LoRA* node.

"""
CHECKED = """\
Every layer of the files was read back as {clients} find it, and compared with what was trained: the largest relative
difference of a weight change is {difference:g}."""
WORDS = """\
**The word {word}**{beside}: put {file} into `embeddings` of A1111 or Forge and write {stem}, or into
`models/embeddings` of ComfyUI and write {comfy}; in diffusers, before `pipe` draws (below):

```python
{load}
```

"""
DIFFUSERS = """\
**diffusers:**

```python
{load}
pipe.load_lora_weights("diffusers")  # this folder's `diffusers`, which is for diffusers alone
image = pipe({prompt}{options}).images[0]
```

"""
# What the hub knows; it refuses a card that names another, unless it is called "other".
_LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by
    ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
# A client that does not know it begins with noise that the training never saw alone.
ZERO_SNR_ADVICE = (
    "zero terminal SNR: in A1111 set the noise schedule for sampling to it, in ComfyUI use ModelSamplingDiscrete with "
    "v_prediction and zsnr"
)
ZERO_SNR_SAMPLER = """
from diffusers import DDIMScheduler

pipe.scheduler = DDIMScheduler.from_config(
    pipe.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
)"""
LORA_TAGS = ["lora", "template:sd-lora"]
LICENSES = frozenset(_LICENSES.split())


def format_model_card(
    facts: LoraFacts, rows: Sequence[CaptionedRow], previews: Sequence[Preview], settings: ExportSettings
) -> str:
    """The card's text: front matter for the Hub, then what a reader needs. What others chose (names, trigger words)
    stands in it as text, whatever it holds.

    Args:
        facts: the LoRA's.
        rows: the captioned pictures; their captions appear unless `settings.private`.
        previews: what was copied beside the card.
    """
    checked, base = facts.checked, facts.base_model or facts.base.name or ""
    assert checked is not None  # of what export has just written
    trigger = facts.trigger or ""
    shown, rules = [row for row in rows if not row.is_reg], facts.made_with("encode", EncodeSettings).captions
    prompt = make_plain_text(shown[0].text, rules) if shown and not settings.private else trigger
    body = CARD.format(
        title=escape_markdown(facts.name),
        what=_what(facts),
        use=USE.format(
            file=format_code(f"{facts.name}.safetensors"),
            tag=format_code(f"<lora:{facts.name}:{facts.recommended.weight if facts.recommended else 1:g}>"),
            span=_span(facts.recommended),
        )
        if checked.clients
        else "",
        words="".join(_word(facts, word, settings.embeddings) for word in facts.tokens or ()),
        base=format_code(base),
        clip_skip=_clip_skip(facts),
        diffusers=_diffusers(facts, prompt),
        pictures=facts.dataset.pictures - (len(rows) - len(shown)) - facts.held_out,
        warning=_warning(facts.dataset.out_of_domain),
        gallery=_gallery(previews, facts.strength),
        trigger=format_code(trigger) if trigger else "None: the LoRA acts on every prompt.",
        table="\n".join(f"| {key} | {value} |" for key, value in _table(facts, settings.private).items()),
        checked=CHECKED.format(clients=", ".join(checked.clients), difference=checked.largest_relative_difference)
        if checked.clients
        else "Every file was read back, and holds the very numbers that were trained.",
    )
    return f"---\n{_front_matter(facts, previews, settings)}---\n\n{body}"


def _span(recommended: Recommended | None) -> str:
    """Which weights were found good; nothing where one alone was, or none was looked for."""
    if recommended is None or recommended.low == recommended.high:
        return ""
    return f" Weights from {recommended.low:g} to {recommended.high:g} were found as good."


def _what(facts: LoraFacts) -> str:
    kind = find_trained_kind(facts.made_with("train", TrainSettings).adapter.kind).TITLE
    words = " and ".join(map(format_code, facts.tokens or ()))
    if facts.rank is None:
        return f"A textual inversion of {words}"
    return f"A {kind} of rank {facts.rank} (alpha {facts.alpha:g}){f' with the words {words}' if words else ''}"


def _word(facts: LoraFacts, word: str, where: str) -> str:
    """How a trained word is used."""
    if facts.checked and facts.checked.clients and where == "bundle":
        return (
            f"**The word {format_code(word)}** is in the LoRA's file: A1111 and Forge know it while they use that.\n\n"
        )
    path = f"embeddings/{name_file(word)}"
    name, token = json.dumps(path), json.dumps(word, ensure_ascii=False)
    load = f"pipe.load_textual_inversion({name}, token={token})"
    if len(find_version(facts.base.version).layout.networks) > 2:  # several text encoders, whose rows stand apart
        load = f"from safetensors.torch import load_file\n\nwords = load_file({name})\n" + "\n".join(
            f'pipe.load_textual_inversion(words["{key}"], token={token}, text_encoder=pipe.text_encoder{end}, '
            f"tokenizer=pipe.tokenizer{end})"
            for key, end in (("clip_l", ""), ("clip_g", "_2"))
        )
    inside = bool(facts.checked and facts.checked.clients) and where == "both"
    return WORDS.format(
        word=format_code(word),
        beside=", which A1111 and Forge know by the LoRA's file already" if inside else "",
        file=format_code(path),
        stem=format_code(name_file(word).removesuffix(".safetensors")),
        comfy=format_code(f"embedding:{name_file(word).removesuffix('.safetensors')}"),
        load=load,
    )


def format_code(text: str) -> str:
    """`text` as a code span of Markdown, which ends where it ends."""
    line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def escape_markdown(text: str) -> str:
    """`text` as text of Markdown, in a table too: no markup, no HTML."""
    # Between letters "_" marks nothing.
    return re.sub(r"[\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))


def _diffusers(facts: LoraFacts, prompt: str) -> str:
    """How it is used in diffusers; nothing where that does not load its kind."""
    if facts.checked is None or "diffusers" not in facts.checked.clients:
        return ""
    skip = facts.made_with("encode", EncodeSettings).clip_skip
    options = f", clip_skip={skip - 1}" if skip > 1 else ""  # which counts from 0
    return DIFFUSERS.format(load=_loading(facts), prompt=json.dumps(prompt, ensure_ascii=False), options=options)


def _clip_skip(facts: LoraFacts) -> str:
    """The paragraph about it; nothing where none is left out, as everywhere by default."""
    skip = facts.made_with("encode", EncodeSettings).clip_skip
    if skip == 1:
        return ""
    # There it is counted from the end of all layers, the last of which a base of two encoders never reads.
    layer = -skip - (len(find_version(facts.base.version).encoder_widths) > 1)
    return (
        f"**Clip skip:** it was trained with {skip}, counted from 1; set the same. In ComfyUI the node *CLIP Set Last "
        f"Layer* takes {layer}.\n\n"
    )


def _loading(facts: LoraFacts) -> str:
    """The lines that load the base model, with the sampler that it was trained for."""
    return _loading_base(facts) + (ZERO_SNR_SAMPLER if facts.zero_terminal_snr else "")


def _loading_base(facts: LoraFacts) -> str:
    name = json.dumps(facts.base_model or facts.base.name, ensure_ascii=False)
    if not facts.base_model and (facts.base.name or "").endswith(SINGLE_FILES):
        kind = find_version(facts.base.version).architecture.pipeline
        return f"from diffusers import {kind}\n\npipe = {kind}.from_single_file({name})  # where you have it"
    where = "" if facts.base_model else "  # where you have it"
    return f"from diffusers import DiffusionPipeline\n\npipe = DiffusionPipeline.from_pretrained({name}){where}"


def _front_matter(facts: LoraFacts, previews: Sequence[Preview], settings: ExportSettings) -> str:
    # The hub refuses a card whose base model is none of its own.
    matter: dict[str, Any] = {"base_model": facts.base_model} if facts.base_model else {}
    matter |= {
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", *(["textual_inversion"] if facts.rank is None else LORA_TAGS)],
    }
    if facts.trigger:
        matter["instance_prompt"] = facts.trigger
    if settings.license:
        known = settings.license.lower() in LICENSES
        matter |= (
            {"license": settings.license.lower()}
            if known
            else {
                "license": "other",
                "license_name": settings.license,
            }
        )
    if previews:
        matter["widget"] = [{"text": one.prompt, "output": {"url": one.path}} for one in previews]
    return dump_yaml(matter)


def _warning(text: str | None) -> str:
    return f"> **Warning:** {text}\n\n" if text else ""


def _gallery(previews: Sequence[Preview], strength: float) -> str:
    if not previews:
        return ""
    pictures = " ".join(f"![sample {number}]({one.path})" for number, one in enumerate(previews, 1))
    full = "" if strength == 1 else ", at full strength"
    return f"{pictures}\n\nDrawn while training, at step {previews[0].step}{full}.\n\n"


def _table(facts: LoraFacts, private: bool) -> dict[str, Any]:
    train, prepare = facts.made_with("train", TrainSettings), facts.made_with("prepare", PrepareSettings)
    table = {
        "step": f"{facts.step} of {facts.max_steps or train.total_steps}",
        "batch size": train.batch_size,
        "learning rate": f"{format_rates(train.optimizer, train.adapter)}, {train.scheduler.kind}",
        "optimizer": train.optimizer.kind,
        "seed": train.seed,
        "resolution": prepare.resolution,
        "base model's identity": f"`{facts.base.hash[:16]}`",
        "dataset's identity": f"`{facts.dataset.hash[:16]}`",
    }
    for part, own in facts.encoders.items():
        until = f", to step {own.stop}" if own.stop else ""
        table[f"`{part}`"] = f"trained too: rank {own.rank}, learning rate {own.lr:g}{until}"
    if train.trainer.quantize != "none":
        table["base while training"] = f"its linear layers in {train.trainer.quantize}"
    if facts.timesteps and (told := format_timestep_range(*facts.timesteps)):
        table["timesteps"] = told
    if facts.zero_terminal_snr:
        table["noise schedule"] = ZERO_SNR_ADVICE
    if begun := facts.init_from:
        # Whoever wrote the file has named it.
        file = re.sub(r"[^\w .()+=,-]", "_", begun.file)
        table["went on from"] = f"{file} (`{begun.hash[:16]}`)"
    if facts.averaged:
        ema = train.ema
        table["weights"] = f"exponential moving average, decay {ema.decay:g}" if ema.decay else "averaged"
    if facts.strength != 1:
        table["strength"] = f"{facts.strength:g} of what was trained, at weight 1"
    if not private:
        table["dataset"] = escape_markdown(facts.dataset.name)
    return table
