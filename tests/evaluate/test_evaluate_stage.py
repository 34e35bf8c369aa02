"""The stage from end to end on the micro model."""

import html
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lorakiln.artefacts.hashing import hash_folder
from lorakiln.artefacts.json_files import read_json, read_jsonl, write_json
from lorakiln.console.errors import UserError
from lorakiln.console.progress import PlainLines
from lorakiln.evaluate import evaluate, painter
from lorakiln.evaluate.clip import Clip
from lorakiln.evaluate.report import format_experiment
from lorakiln.families import load_family
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import Source
from pipelines.compose import compose_config
from tests.evaluate.conftest import SETTINGS, metrics_of


@pytest.mark.parametrize("tight", [True, False])
def test_a_tight_gpu_holds_one_model_at_a_time(folders, tmp_path, judged_model, monkeypatch, tight):
    done = []
    monkeypatch.setattr(painter, "is_tight", lambda device: tight)
    monkeypatch.setattr(StableDiffusion, "rest", lambda self: done.append("rest"))
    load, to, decode = Clip.load, Clip.to, StableDiffusion.decode_latents
    monkeypatch.setattr(Clip, "load", lambda *given: done.append(f"clip on {given[-1]}") or load(*given))
    monkeypatch.setattr(Clip, "to", lambda self, device: done.append(f"clip to {device}") or to(self, device))
    monkeypatch.setattr(StableDiffusion, "decode_latents", lambda self, x: done.append("draw") or decode(self, x))
    few = SETTINGS.model_copy(update={"prompts": ["a cat"], "without_trigger": False, "between": []})
    evaluate(*folders, tmp_path / "report", few, judged_model)
    assert list(dict.fromkeys(done)) == ["clip on cpu", *["rest"] * tight, "draw", "clip to cpu"]
    assert done[-1] == "clip to cpu"


def test_the_whole_stage(folders, tmp_path, judged_model, count_drawn, capsys):
    lora, captioned, run, choice = folders
    out = tmp_path / "report"
    evaluate(lora, captioned, run, choice, out, SETTINGS, judged_model)
    rows = read_jsonl(out / "samples" / "metadata.jsonl")
    # 3 prompts x 2 seeds x 2 weights, 2 x 2 in between, 1 x 2 x 2 without the trigger words.
    assert len(rows) == 12 + 4 + 4 == len(count_drawn)
    assert all((out / "samples" / row["file_name"]).is_file() for row in rows)
    numbers = read_json(out / "metrics.json")
    scores = [row["clip_score"] for row in rows if row["weight"] == 1.0 and row["with_trigger"]]
    assert numbers["clip_score"]["w1.00"]["mean"] == pytest.approx(np.mean(scores), abs=1e-5)
    base = [row["clip_score"] for row in rows if row["weight"] == 0.0 and row["with_trigger"]]
    gain = numbers["clip_score"]["w1.00"]["difference"]["mean"]
    assert gain == pytest.approx(np.mean(scores) - np.mean(base), abs=1e-5) and gain != 0
    few = read_json(out / "scores.json")
    assert few["obedience"] == round(numbers["clip_score"]["w1.00"]["mean"], 4)
    assert set(few) == {"likeness", "obedience", "right_colour", "right_kind"}
    assert numbers["right_colour"]["w0.00"]["mean"] in (0, 0.25, 0.5, 0.75, 1)  # two prompts name a colour
    assert set(numbers["coherence"]) == {"agreeing", "detail", "arrangement"}
    assert round(3 * numbers["coherence"]["agreeing"], 5) in (0, 1, 2, 3)  # of 3 prompts
    assert {path.name for path in (out / "grids").iterdir()} == {"weights.png", "seeds.png", "trigger.png"}
    lines = (out / "plots" / "scores.csv").read_text().splitlines()
    assert lines[0] == "weight,metric,mean,low,high" and len(lines) == 1 + 2 * 9
    assert str(out / "report.html") in capsys.readouterr().out.replace("\n", "")


def test_of_enough_prompts_the_worth_is_told_by_the_rule_for_saved_steps(folders, tmp_path, judged_model, capsys):
    lora, captioned, run, choice = folders
    prompts = [f"{{trigger}}, a {colour} {kind}" for colour in ("red", "blue") for kind in ("cat", "old")]
    some = {"prompts": [*prompts, "{trigger}"], "without_trigger": False, "between": []}
    evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS.model_copy(update=some), judged_model)
    numbers, few = (read_json(tmp_path / "report" / name) for name in ("metrics.json", "scores.json"))
    worth = numbers["worth"]["w1.00"]
    parts = [worth[name] for name in ("learned", "detail", "followed", "agreement", "whole")]
    assert worth["mean"] == pytest.approx(math.prod(parts), abs=1e-5) and worth["low"] <= worth["mean"] <= worth["high"]
    # The question with a fixed answer is what was learned, the other what the prompts asked for.
    assert worth["learned"] == pytest.approx(numbers["right_kind"]["w1.00"]["mean"], abs=1e-5)
    ends = [numbers["right_colour"][at]["mean"] for at in ("w1.00", "w0.00")]
    assert worth["followed"] == pytest.approx(ends[0] / max(ends) if max(ends) else 1, abs=1e-5)
    assert few["worth"] == round(worth["mean"], 4)
    assert f"worth {worth['mean']:.2f} of 1 ({worth['low']:.2f} to" in capsys.readouterr().out.replace("\n", " ")


def test_weight_0_is_the_base_bit_for_bit_and_weight_1_is_not(reported, judged_model):
    job = DrawJob("sks, a red cat", 7, 32, 32)
    alone = next(draw(load_family(judged_model), [job], 2, 3.0, batch_size=2))
    pictures = {}
    for weight in ("0.00", "0.50", "1.00"):
        with Image.open(reported / "samples" / f"w{weight}" / "p000-s7.png") as image:
            pictures[weight] = image.tobytes()
            assert image.info["parameters"].startswith("sks, a red cat")
            assert ("<lora:sks:" in image.info["parameters"]) == (weight != "0.00")
    assert pictures["0.00"] == alone.tobytes()
    assert len(set(pictures.values())) == 3


def test_a_second_run_draws_nothing_and_gives_equal_bytes(folders, reported, tmp_path, judged_model, count_drawn):
    out = tmp_path / "report"
    shutil.copytree(reported, out)
    evaluate(*folders, out, SETTINGS, judged_model)
    assert not count_drawn and hash_folder(out) == hash_folder(reported)


def test_pictures_are_counted_by_the_batch(folders, tmp_path, judged_model, monkeypatch):
    told, advance = [], PlainLines.advance

    def counted(self, count=1, note=""):
        if self.title == "drawing":
            told.append(count)
        advance(self, count, note)

    monkeypatch.setattr(PlainLines, "advance", counted)
    evaluate(*folders, tmp_path / "report", SETTINGS.model_copy(update={"batch_size": 3}), judged_model)
    # 8 at weight 0, 4 at 0.5, 8 at 1.
    assert told == [3, 3, 2, 3, 1, 3, 3, 2]


def test_the_report_stands_alone_and_escapes_what_it_quotes(reported, judged_model):
    page = (reported / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r"<img[^>]*?src=\"([^\"]*)\"", page)
    # Grids 2 x 3 + 2 x 4 + 1 x 4, training samples 2, data 3, one more prompt twice, and the nearest pairs.
    pairs = page.count('alt="training picture ')
    assert 1 <= pairs <= 3 and page.count('alt="drawn, LoRA at 1.00') == pairs
    assert len(sources) == 6 + 8 + 4 + 2 + 3 + 2 + 2 * pairs
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert (
        not re.search(r"(?:src|href)=\"(?!data:|#)", page)
        and not re.search(r"url\((?!#)", page)
        and "@import" not in page
    )
    assert page.count("<svg") == 9 + 3
    assert "Too few prompts for a verdict" in page
    assert "&lt;lora:sks:1&gt;" in page and "load_lora_weights(&#34;sks.safetensors&#34;)" in page
    assert str(reported.parent) not in page.replace(judged_model.path, "").replace(judged_model.clip.path, "")


def test_the_report_counts_what_was_trained_on(reported):
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert "<li>20 steps on 2 pictures of demo</li>" in page
    assert "2 were trained on, 1 held out for the validation loss (<code>train.validation.every=0</code>" in page


def test_the_settings_in_the_report_are_an_experiment(reported):
    page = (reported / "report.html").read_text(encoding="utf-8")
    text = html.unescape(re.search(r"<code>(# @package _global_.*?)</code>", page, re.S)[1])
    settings = yaml.safe_load(text)
    assert settings["train"] == {"steps": 20, "adapter": {"rank": 2}}
    assert EvaluateSettings(**settings["evaluate"]) == SETTINGS


def test_the_experiment_from_a_report_composes_to_the_same_settings(tmp_path):
    overrides = [
        "+experiment=demo_style",
        "train/scheduler=cosine",
        "train.adapter.rank=5",
        "encode.flip=true",
    ]
    config = compose_config([*overrides, "evaluate.seeds=[4]", "evaluate.negative_prompt='a: b, #c'"])
    settings = EvaluateSettings(**config["evaluate"])
    shutil.copytree("conf", tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / "again.yaml").write_text(format_experiment(config, settings))
    again = compose_config(["+experiment=again"], tmp_path / "conf")
    assert EvaluateSettings(**again.pop("evaluate")) == settings
    assert again == {name: value for name, value in config.items() if name != "evaluate"}


def test_a_run_without_samples_or_validation_has_a_report(folders, reported, tmp_path, judged_model):
    lora, captioned, run, choice = folders
    shutil.rmtree(run / "samples")
    shutil.copytree(reported, tmp_path / "report")
    (run / "validation.csv").write_text("step,loss\n")
    evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, judged_model)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Samples over training" not in page and "Validation loss" not in page and "Training loss" in page


def test_a_broken_tracker_does_not_stop_the_report(folders, reported, tmp_path, judged_model, capsys):
    lora, captioned, run, choice = folders
    (run / "tracker.json").write_text("{")
    shutil.copytree(reported, tmp_path / "report")
    evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, judged_model)
    assert "tracker: the scores were not logged" in capsys.readouterr().err
    assert (tmp_path / "report" / "report.html").is_file()


def test_scores_reach_the_tracker(folders, reported, tmp_path, judged_model, monkeypatch):
    from lorakiln.evaluate import tracking

    logged, shown, kept, told = {}, {}, {}, {}

    class Spy:
        record = {"upload_images": True}

        def artifact(self, kind, name, files, facts, aliases=()):
            kept[kind, name] = {inside for inside, path in files.items() if path.is_file()}

        def log(self, values, step=None):
            assert step == 20  # the adapter's
            logged.update(values)

        def images(self, name, pictures, step):
            assert step == 20
            shown[name] = all(path.is_file() for path in pictures.values())

        def finish(self):
            logged["finished"] = 1.0

    monkeypatch.setattr(tracking, "resume_tracker", lambda run, job, config: told.update(config) or Spy())
    shutil.copytree(reported, tmp_path / "report")
    lora, captioned, run, choice = folders
    evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, judged_model)
    numbers = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert logged["evaluate/clip_score/w1.00/mean"] == numbers["clip_score"]["w1.00"]["mean"]
    assert logged["evaluate/likeness"] == numbers["image_similarity"]["w1.00"]["mean"]
    assert logged["evaluate/obedience"] == numbers["clip_score"]["w1.00"]["mean"]
    assert all(value is not None for value in logged.values())
    assert logged["finished"] and shown == {f"evaluate/grids/{name}": True for name in ("weights", "seeds", "trigger")}
    assert EvaluateSettings(**told["evaluate"]) == SETTINGS
    assert [kind for kind, _ in kept] == ["report"] and list(kept.values())[0] == {"metrics.json", "report.html"}


def test_what_boards_show_has_one_name_at_any_weight():
    from lorakiln.evaluate.tracking import EvaluatedLora, collect_scores

    numbers = {
        "image_similarity": {"w0.00": {"mean": 0.1}, "w0.80": {"mean": 0.4, "low": None}},
        "clip_score": {"w0.80": {"mean": 30.0}},
    }
    logged = collect_scores(EvaluatedLora("a", 20, {}, numbers, "w0.80", {}))
    assert logged["evaluate/likeness"] == 0.4 and logged["evaluate/obedience"] == 30.0
    assert "evaluate/image_similarity/w0.80/low" not in logged


def test_a_clip_that_is_not_there_is_told(folders, tmp_path, judged_model):
    lora, captioned, run, choice = folders
    (tmp_path / "empty").mkdir()
    model = judged_model.model_copy(update={"clip": Source(path=str(tmp_path / "empty"))})
    with pytest.raises(UserError, match="cannot load CLIP"):
        evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, model)
    assert not (tmp_path / "report").exists()


def test_weight_0_alone_is_refused(folders, tmp_path, judged_model):
    lora, captioned, run, choice = folders
    settings = SETTINGS.model_copy(update={"weights": [0.0]})
    with pytest.raises(UserError, match="0 alone"):
        evaluate(lora, captioned, run, choice, tmp_path / "report", settings, judged_model)


def test_a_lora_of_another_base_is_refused(folders, tmp_path, judged_model):
    lora, captioned, run, choice = folders
    facts = read_json(lora / "facts.json")
    facts["base"] = {**facts["base"], "hash": "0" * 64, "path": "some/other"}
    (lora / "facts.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="some/other"):
        evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, judged_model)


def test_too_little_space_is_told_before_anything_is_written(folders, judged_model, disk_of, tmp_path):
    disk_of(500)
    with pytest.raises(UserError, match="the report and its samples need about 120.0 KiB, the disk has 500 bytes left"):
        evaluate(*folders, tmp_path / "report", SETTINGS, judged_model)
    assert not (tmp_path / "report").exists()


def test_photographs_on_a_model_of_drawings_get_no_verdict_and_the_warning_on_the_page(
    folders, tmp_path, judged_model, capsys
):
    lora, captioned, run, choice = folders
    facts = read_json(captioned / "dataset.json")
    write_json(captioned / "dataset.json", facts | {"out_of_domain": "3 of 3 pictures are shaded: add model=sd15."})
    evaluate(lora, captioned, run, choice, tmp_path / "report", SETTINGS, judged_model)
    page = (tmp_path / "report" / "report.html").read_text()
    told = capsys.readouterr().out
    for text in (page, told):
        assert "No verdict: the model" in text and "add model=sd15" in text
    assert 'class="verdict unknown"' in page


def test_the_clip_score_is_a_price_only_where_no_question_is_asked():
    from lorakiln.schema.evaluate import Classification

    asked = Classification(name="thing", labels=["cat", "dog"])
    style = Classification(name="style", labels=["photo", "drawing"], answer="drawing")
    roles = [{metric.name: metric.role for metric in metrics_of(questions)} for questions in ([], [style], [asked])]
    assert [role["clip_score"] for role in roles] == ["prompt", "prompt", "other"]
    assert roles[2]["right_thing"] == "prompt" and roles[1]["right_style"] == "learned"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("lorakiln.evaluate.painter.load_adapter", "evaluate: loading the base model: out of memory"),
        ("lorakiln.lora_files.merging.Merged.set_weights", "drawing: putting the LoRA on: out of memory"),
        ("lorakiln.families.sd.model.StableDiffusion.encode_prompts", "drawing: reading the negative prompt: out of"),
        ("lorakiln.families.sd.model.StableDiffusion.decode_latents", "drawing: out of memory with one picture"),
    ],
)
def test_no_memory_is_told_with_what_helps(folders, tmp_path, judged_model, monkeypatch, place, said):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(place, full)
    one = SETTINGS.model_copy(update={"prompts": ["a cat"], "seeds": [0], "between": [], "weights": [0.0, 1.0]})
    with pytest.raises(UserError, match=f"^{said}(.|\n)*evaluate.device=cpu"):
        evaluate(*folders, tmp_path / "report", one, judged_model)
    assert not (tmp_path / "report").exists()
