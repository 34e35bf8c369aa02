"""The model card, A1111's notes, and what both tell of names."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from diffusers import DDIMScheduler

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.export.card import format_model_card
from lorakiln.facts.lora import LoraFacts
from lorakiln.schema.export import ExportSettings
from tests.export.conftest import CAPTIONS, PROMPTS, files


def test_the_sidecar_is_what_a1111_reads(do):
    notes = read_json(do(name="cats") / "cats.json")
    assert (notes["sd version"], notes["activation text"], notes["preferred weight"]) == ("SD1", "sks", 1.0)
    assert notes["description"] == "LoRA of rank 4, trained on 3 pictures"
    assert set(notes) == {"description", "sd version", "activation text", "preferred weight", "negative text", "notes"}


def test_the_model_card(do, facts):
    out = do(name="cats", license="mit", previews=1, base_model="owner/model")
    text = (out / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "owner/model",
        "library_name": "diffusers",
        "tags": ["text-to-image", "diffusers", "lora", "template:sd-lora"],
        "instance_prompt": "sks",
        "license": "mit",
        "widget": [{"text": PROMPTS[0], "output": {"url": "previews/00.png"}}],
    }
    for part in (
        "# cats\n",
        "for `owner/model`, trained on 3 pictures",
        "`cats.safetensors`",
        "## Trigger words",
        "`sks`",
        "`<lora:cats:1>`",
        "load_lora_weights",
        "ComfyUI",
        facts["dataset"]["hash"][:16],
        "| seed | 7 |",
        "| step | 20 of 20 |",
        "![sample 1](previews/00.png)",
        f'pipe("{CAPTIONS[0]}", clip_skip=1)',
        "**Clip skip:** it was trained with 2, counted from 1; set the same. In ComfyUI the node *CLIP Set Last Layer* "
        "takes -2.\n",
        'DiffusionPipeline.from_pretrained("owner/model")\n',
        "| dataset | secret_folder |",
    ):
        assert part in body, part
    assert not list((out / "previews").glob("01.png"))


def test_of_sdxl_the_layer_is_one_further_from_the_end(do):
    facts = LoraFacts.read(do(name="cats") / "facts.json")
    xl = facts.model_copy(update={"base": facts.base.model_copy(update={"version": "sdxl_base_v1-0"})})
    card = format_model_card(xl, [], [], ExportSettings(name="cats"))
    assert "*CLIP Set Last Layer* takes -3." in card and "clip_skip=1)" in card


def test_the_card_warns_of_photographs_on_a_model_of_drawings(do, run):
    facts = read_json(run / "facts.json")
    assert "Warning" not in (do() / "README.md").read_text()
    facts["dataset"]["out_of_domain"] = "4 of 4 pictures are shaded: add model=sd15."
    write_json(run / "facts.json", facts)
    assert "> **Warning:** 4 of 4 pictures are shaded: add model=sd15.\n" in (do() / "README.md").read_text()


def test_a_base_of_this_machine_is_named_without_its_place(do, facts):
    out = do(name="cats")
    place = str(Path(facts["base"]["path"]).parent)
    for name in files(out) - {"facts.json"}:
        assert place.encode() not in (out / name).read_bytes(), name
    settings = json.loads(load_tensors(out / "cats.safetensors")[1]["lorakiln_settings"])
    assert settings["model"]["path"] == "sd" and settings["model"]["clip"]["path"] == "models/tiny/clip"
    text = (out / "README.md").read_text()
    assert "base_model" not in yaml.safe_load(text.split("---\n")[1])
    assert "for `sd`, trained" in text and 'DiffusionPipeline.from_pretrained("sd")  # where you have it' in text
    assert read_json(out / "diffusers/adapter_config.json")["base_model_name_or_path"] is None
    assert read_json(out / "cats.json")["notes"] == "base model: sd; step 20; clip skip 2"
    named = do("named", name="cats", base_model="owner/model")
    assert read_json(named / "diffusers/adapter_config.json")["base_model_name_or_path"] == "owner/model"
    assert read_json(named / "cats.json")["notes"] == "base model: owner/model; step 20; clip skip 2"


@pytest.mark.parametrize(
    ("given", "front"),
    [
        ("mit", {"license": "mit"}),
        ("CreativeML-OpenRAIL-M", {"license": "creativeml-openrail-m"}),
        ("ask me", {"license": "other", "license_name": "ask me"}),
    ],
)
def test_a_license_is_named_as_the_hub_takes_it_and_stands_in_the_file(do, given, front):
    out = do(name="cats", license=given)
    matter = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert {key: value for key, value in matter.items() if key.startswith("license")} == front
    assert load_tensors(out / "cats.safetensors")[1]["modelspec.license"] == given


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("sks", "`sks`"),
        ("a`<img src=x>", "`` a`<img src=x> ``"),
        ("``b\n\n# c", "``` ``b # c ```"),
        ("`", "`` ` ``"),
    ],
)
def test_what_is_chosen_freely_stays_inside_its_code_span(do, run, facts, text, span):
    write_json(run / "facts.json", {**facts, "trigger": text})
    assert f"## Trigger words\n\n{span}\n\n## Use" in (do(name="x") / "README.md").read_text()


def test_names_are_text_in_the_card_whatever_they_hold(do, run, facts):
    facts["dataset"]["name"] = "a|b<i>_c_d"
    write_json(run / "facts.json", facts)
    text = (do(name="x`<script>y") / "README.md").read_text()
    assert "# x\\`\\<script\\>y\n" in text and "`` x`<script>y.safetensors ``" in text
    assert "`` <lora:x`<script>y:1> ``" in text and r"| dataset | a\|b\<i\>\_c_d |" in text


def test_the_card_tells_what_was_not_all_alike(do, run, facts):
    text = (do() / "README.md").read_text()
    assert "| learning rate | 0.0001, cosine |" in text and not re.search(r"\| (timesteps|went on from) \|", text)
    facts["settings"]["train"]["optimizer"]["part_lrs"] = {"up_blocks": 2e-4, "mid_block": 0.0}
    told = {"timesteps": [300, 1000, 1000], "init_from": {"file": "a|`b`.safetensors", "hash": "0123456789abcdef" * 4}}
    write_json(run / "facts.json", {**facts, **told})
    text = (do() / "README.md").read_text()
    assert "| learning rate | 0.0001 (mid_block 0, up_blocks 0.0002), cosine |" in text
    assert "| timesteps | 300 to 999, of 0 to 999 |" in text
    assert "| went on from | a__b_.safetensors (`0123456789abcdef`) |" in text
    hidden = do("hidden", private=True)
    assert "went on from" not in (hidden / "README.md").read_text()
    assert read_json(hidden / "facts.json")["init_from"] is None


def test_a_prompt_is_the_pictures_own_whatever_it_holds(do):
    front = (do() / "README.md").read_text().split("---\n")[1]
    assert [one["text"] for one in yaml.safe_load(front)["widget"]] == PROMPTS


def test_who_draws_is_told_of_zero_terminal_snr(do, run, facts):
    advice = (
        "zero terminal SNR: in A1111 set the noise schedule for sampling to it, in ComfyUI use ModelSamplingDiscrete"
    )
    before = do()
    assert advice not in (before / "README.md").read_text() + read_json(before / "secret_folder.json")["notes"]
    assert not LoraFacts.read(before / "facts.json").zero_terminal_snr
    write_json(run / "facts.json", {**facts, "zero_terminal_snr": True})
    told = do()
    card = (told / "README.md").read_text()
    assert f"| noise schedule | {advice}" in card and advice in read_json(told / "secret_folder.json")["notes"]
    assert LoraFacts.read(told / "facts.json").zero_terminal_snr
    assert load_tensors(told / "secret_folder.safetensors")[1]["ss_zero_terminal_snr"] == "True"
    # The card's own lines make diffusers' pipeline draw so.
    code = card.split("```python")[1].split("```")[0]
    lines = code[code.index("from diffusers import DDIMScheduler") : code.index("pipe.load_lora_weights")]
    pipe = SimpleNamespace(scheduler=DDIMScheduler(prediction_type="v_prediction"))
    exec(lines, {"pipe": pipe})
    pipe.scheduler.set_timesteps(4)
    assert pipe.scheduler.alphas_cumprod[-1] == 0 and pipe.scheduler.timesteps[0] == 999
