"""Samples from a file of prompts."""

import json

import pytest
from PIL import Image

from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.train import TrainSettings
from lorakiln.train.sample_file import SampleRequest, read_sample_file
from lorakiln.train.sample_pictures import list_samples

LINES = """\
# what sd-scripts' documentation shows
{trigger} on a hill, best quality --n low quality, bad hands --w 768 --h 512 --d 1 --l 7.5 --s 28

a plain one--w
a negative weight --am -0.5 --N
"""
EXPECTED = [
    SampleRequest(prompt="a", negative="low", width=768, height=512, seed=1, guidance=7.5, steps=28),
    SampleRequest(prompt="a", weight=-0.5),
]


def test_lines_as_sd_scripts_has_them(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text(LINES)
    hill, plain, weighted = read_sample_file(file)
    assert hill == SampleRequest(
        prompt="{trigger} on a hill, best quality",
        negative="low quality, bad hands",
        width=768,
        height=512,
        seed=1,
        guidance=7.5,
        steps=28,
    )
    assert plain == SampleRequest(prompt="a plain one--w")
    assert weighted == SampleRequest(prompt="a negative weight", weight=-0.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a --n low --w 768 --h 512 --d 1 --l 7.5 --s 28\na --am -0.5"),
        (
            "a.json",
            '[{"prompt": "a", "negative_prompt": "low", "width": 768, "height": 512, "seed": 1, "scale": 7.5, '
            '"sample_steps": 28}, "a --am -0.5"]',
        ),
        (
            "a.toml",
            '[prompt]\nprompt = "a"\n[[prompt.subset]]\nnegative = "low"\nwidth = 768\nheight = 512\nseed = 1\n'
            "guidance = 7.5\nsteps = 28\n[[prompt.subset]]\nweight = -0.5",
        ),
    ],
)
def test_three_forms_of_the_same(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_sample_file(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("a.txt", "fine\na cat --q 3", "line 2", "--q has no meaning here"),
        ("a.txt", "a cat --w wide", "line 1", "--w 'wide' is no number"),
        ("a.txt", "a cat --w 4", "line 1", "width: Input should be greater than or equal to 8"),
        ("a.txt", "# nothing", "a.txt", "there is no prompt in it"),
        ("a.json", '[{"prompt": "a", "colour": 3}]', "entry 1", "colour: unknown setting"),
        ("a.json", '[{"width": 64}]', "entry 1", "prompt: field required"),
        ("a.json", '{"prompt": "a"}', "a.json", "it holds no list"),
        ("a.json", "[3]", "entry 1", "3 is no prompt"),
        ("a.toml", 'prompt = "a"', "a.toml", "not readable as .toml of prompts"),
        ("a.csv", "a", "a.csv", "no file of prompts by its ending"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, name, text, where, what):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as refused:
        read_sample_file(tmp_path / name)
    assert where in str(refused.value.where) and what in refused.value.what
    with pytest.raises(UserError, match="cannot be read"):
        read_sample_file(tmp_path / "missing.txt")


def test_prompts_and_a_file_are_refused_together(make_settings):
    told = make_settings().model_dump()
    told["samples"] |= {"prompts": ["a"], "file": "a.txt"}
    with pytest.raises(ConfigError, match="prompts and file are both set"):
        check(TrainSettings, told, "train")


def test_seeds_of_the_settings_are_for_those_that_have_none(make_settings):
    settings = make_settings(samples={"every": 1, "seeds": [3, 4], "guidance": 2.0, "steps": 5}).samples
    requests = [SampleRequest(prompt="a"), SampleRequest(prompt="b", seed=9, guidance=0.0, width=32)]
    found = [
        (one.job.prompt, one.job.seed, one.job.width, one.steps, one.guidance)
        for one in list_samples(requests, settings, 64)
    ]
    assert found == [("a", 3, 64, 5, 2.0), ("b", 9, 32, 5, 0.0), ("a", 4, 64, 5, 2.0)]


@pytest.fixture
def sampled(tmp_path, make_settings, micro_model):
    side = micro_model.resolution
    lines = [f"{{trigger}}, a red cat --d 1{more}" for more in ("", " --am 0", " --n blue", f" --w {side // 2} --s 2")]
    (tmp_path / "prompts.txt").write_text("\n".join(lines))
    return make_settings(steps=4, samples={"every": 2, "file": str(tmp_path / "prompts.txt"), "steps": 1})


def test_a_run_draws_what_its_file_says(train_micro, sampled, micro_model, make_settings, capsys):
    out = train_micro(sampled)
    side = micro_model.resolution
    steps = [sorted((out / "samples" / f"step-{step:08d}").iterdir()) for step in (0, 4)]
    pictures = [[Image.open(file) for file in files] for files in steps]
    assert [one.size for one in pictures[1]] == [(side, side)] * 3 + [(side // 2, side)]
    texts = [one.info["parameters"] for one in pictures[1]]
    assert all(text.startswith("sks, a red cat\n") for text in texts)
    assert "Negative prompt: blue" in texts[2] and "Steps: 2," in texts[3] and "Steps: 1," in texts[0]
    # At weight 0 it is the base that draws, as before the first step; else it is not.
    first, last = ([one.tobytes() for one in drawn] for drawn in pictures)
    assert first[1] == first[0] == last[1] != last[0]
    assert last[2] != last[0]
    # Drawing changes nothing of what is trained.
    plain = train_micro(make_settings(steps=4), "plain")
    name = "adapters/step-00000004.safetensors"
    ours, theirs = (load_tensors(folder / name)[0] for folder in (out, plain))
    assert all((ours[key] == theirs[key]).all() for key in ours)


def test_a_file_that_changed_is_drawn_again(train_killed, train_micro, sampled, tmp_path, capsys):
    settings = sampled.model_copy(update={"checkpoint_every": 2})
    train_killed(settings, at=3)
    (tmp_path / "prompts.txt").write_text("a blue cat --d 1")
    out = train_micro(settings)
    assert "the samples were drawn with other train.samples" in capsys.readouterr().err
    assert [len(list(folder.iterdir())) for folder in sorted((out / "samples").iterdir())] == [1, 1]


@pytest.mark.parametrize(("line", "what"), [("a --w 33", "33x"), ("a --s 2000", "2000")])
def test_what_the_base_cannot_draw_is_refused_before_the_training(train_micro, make_settings, tmp_path, line, what):
    (tmp_path / "prompts.json").write_text(json.dumps([line]))
    with pytest.raises(UserError, match=what):
        train_micro(make_settings(samples={"every": 2, "file": str(tmp_path / "prompts.json")}))
