"""`lorakiln new`: a dataset and an experiment of a folder of pictures."""

import re
import shutil

import pytest
import yaml
from PIL import Image
from ruamel.yaml import YAML

from lorakiln.cli import main
from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.proposal import PicturesFacts, propose
from pipelines.compose import compose_config
from tests.conf.test_compose import CONF


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the project's settings, in which commands run."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copytree(CONF, folder / "conf")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for number in range(12):
        Image.new("RGB", (8, 8), (number,) * 3).save(folder / f"{'deep/' * (number % 2)}{number}.png")
    (folder / "0.txt").write_text("a dog, asleep")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / ".hidden").write_bytes(b"x")
    return folder


def experiment(project, name):
    """The file as it is written, and the config that it composes to."""
    text = (project / f"conf/experiment/{name}.yaml").read_text()
    return text, check_whole(compose_config([f"+experiment={name}"], project / "conf"))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_are_copied_and_the_experiment_composes(project, pictures, capsys):
    assert main(["new", "my_dog", "--pictures", str(pictures), "--base", "sd15"]) == 0
    told = capsys.readouterr().out
    taken = files(project / "data/raw/my_dog")
    assert taken == {name: content for name, content in files(pictures).items() if name not in ("Thumbs.db", ".hidden")}
    assert "12 pictures, copied; 1 with captions of their own" in told
    # Of 12 one is held out; 11 are seen as often as the recipe's 23 of 25.
    assert (
        "steps     700, each of a batch of 4: 11 pictures (1 more held out to measure the loss), each seen 255 times"
        in told
    )
    assert "next: python -m train +experiment=my_dog\n" in told
    text, config = experiment(project, "my_dog")
    assert "#   rank      16: a face and clothes need more than a style" in text
    assert (config.prepare.dataset, config.caption.trigger, config.caption.captioner) == ("my_dog", "sks dog", "blip")
    assert (config.model.path, config.train.steps, config.train.adapter.rank) == (
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        700,
        16,
    )
    assert (config.train.optimizer.lr, config.train.objective.min_snr_gamma) == (1e-4, 5)
    before = files(project)
    assert main(["new", "my_dog", "--pictures", str(pictures)]) == 1
    assert "is there already" in capsys.readouterr().err and files(project) == before


@pytest.mark.parametrize("name", ["1e3", "#1", "null", "a\nb", '-it\'s, "我" [1]', "我的狗"])
def test_any_folders_name_is_written_so_that_it_is_read_as_it_is(project, pictures, capsys, name):
    assert main(["new", "--pictures", str(pictures), "--base", "tiny", "--", name]) == 0
    told = capsys.readouterr().out
    chosen = re.search(r"next: python -m train \+experiment=([a-z]\w*)\n", told)[1]
    assert experiment(project, chosen)[1].prepare.dataset == name
    line = re.search(r"` and `(dataset: .*)` in params.yaml", told)[1]
    assert YAML(typ="safe").load(line) == {"dataset": name}  # as DVC reads it


def test_folders_whose_names_come_to_one_get_two_experiments(project, pictures, capsys):
    for name in ("dog (1)", "dog[1]", "dog 1"):
        assert main(["new", name, "--pictures", str(pictures), "--base", "tiny"]) == 0
    assert re.findall(r"experiment=(\w+)\n", capsys.readouterr().out) == ["dog_1", "dog_1_2", "dog_1_3"]
    assert experiment(project, "dog_1_2")[1].prepare.dataset == "dog[1]"
    assert main(["new", "dog[1]", "--pictures", str(project / "data/raw/dog[1]"), "--base", "tiny"]) == 1
    assert "dog_1_2.yaml: is there already" in capsys.readouterr().err
    (project / "conf/experiment/cat.yaml").write_text("")
    assert main(["new", "cat", "--pictures", str(pictures)]) == 1
    assert "cat.yaml: is there already\n  fix: take another NAME\n" in capsys.readouterr().err


def test_links_lead_to_the_pictures_and_are_followed(project, pictures):
    assert main(["new", "my dog!", "--pictures", str(pictures), "--link", "--kind", "style", "--base", "sdxl"]) == 0
    link = project / "data/raw/my dog!/deep/1.png"
    assert link.is_symlink() and link.samefile(pictures / "deep/1.png")
    _, config = experiment(project, "my_dog")
    assert config.prepare.dataset == "my dog!" and config.prepare.follow_symlinks
    assert (config.caption.trigger, config.encode.flip, config.train.adapter.rank) == ("sks style", True, 4)
    assert config.train.micro_batch == 1 and config.train.trainer.gradient_checkpointing
    assert config.evaluate.prompts[0] == "a cat, {trigger}"


def test_pictures_that_are_in_place_stay(project, pictures, capsys):
    raw = project / "data/raw/2024"
    shutil.copytree(pictures, raw)
    before = files(raw)
    assert main(["new", "2024", "--pictures", "data/raw/2024", "--kind", "pose", "--trigger", "on one leg"]) == 0
    assert "12 pictures, as they are" in capsys.readouterr().out and files(raw) == before
    _, config = experiment(project, "named_2024")
    assert (config.prepare.dataset, config.caption.trigger) == ("2024", "on one leg")


def test_a_base_of_ones_own_is_written_down(project, pictures, micro_model):
    assert main(["new", "mine", "--pictures", str(pictures), "--base", micro_model.path]) == 0
    text, config = experiment(project, "mine")
    assert config.model.path == micro_model.path and config.model.resolution == micro_model.resolution
    # As of the tiny base: it is as small.
    assert config.train.optimizer.lr == 1e-3 and config.train.adapter.targets == "locon"
    assert "override /model" not in text


@pytest.mark.parametrize(
    ("words", "trigger", "captioner"),
    [
        ({f"{number}.txt": "mira vale, red dress" for number in range(12)}, "mira vale", "none"),
        ({f"{number}.txt": f"{number}, Mira Vale" for number in range(12)}, "mira vale", "none"),
        ({f"{number}.txt": f"{number}, of her" for number in range(11)}, "sks dog", "blip"),
    ],
    ids=["first", "somewhere", "not all"],
)
def test_the_trigger_is_what_all_captions_have(project, pictures, words, trigger, captioner):
    for picture in pictures.rglob("*.png"):
        if text := words.get(f"{picture.stem}.txt"):
            picture.with_suffix(".txt").write_text(text)
        else:
            picture.with_suffix(".txt").unlink(missing_ok=True)
    assert main(["new", "red-dog", "--pictures", str(pictures)]) == 0
    _, config = experiment(project, "red_dog")
    assert (config.caption.trigger, config.caption.captioner) == (trigger, captioner)


def test_kohyas_folders_say_the_trigger(project, pictures):
    (pictures / "0.txt").unlink()
    for name in ("0.png", "2.png"):
        (pictures / "img/3_sks mug").mkdir(parents=True, exist_ok=True)
        (pictures / name).rename(pictures / "img/3_sks mug" / name)
    (pictures / "reg/1_mug").mkdir(parents=True)
    (pictures / "4.png").rename(pictures / "reg/1_mug/4.png")
    assert main(["new", "mug", "--pictures", str(pictures)]) == 0
    _, config = experiment(project, "mug")
    # Two pictures of the mug, which is DreamBooth's case; the one for regularisation is none of them.
    assert (config.caption.trigger, config.caption.captioner, config.train.steps) == ("sks mug", "none", 200)


@pytest.mark.parametrize(
    ("pictures_there", "kind", "steps", "rank", "seen"),
    [
        (5, "concept", 500, 4, 100),
        (3, "concept", 300, 4, 100),
        (8, "concept", 500, 4, 62),
        (25, "character", 1500, 16, 261),
        (6, "character", 350, 8, 280),
        (100, "style", 1500, 4, 67),
        (1000, "style", 4500, 4, 20),
        (25, "pose", 1200, 8, 209),
    ],
)
def test_numbers_follow_the_number_of_pictures(project, pictures_there, kind, steps, rank, seen):
    from lorakiln.tools.model_settings import find_model_settings

    facts = PicturesFacts("mine", pictures_there)
    made = propose(facts, "sd15", find_model_settings("sd15", None), project / "conf", kind)
    train = made.settings["train"]
    assert (train["steps"], train["adapter"]["rank"]) == (steps, rank)
    assert f"each seen {seen} times" in {what: why for what, _, why in made.reasons}["steps"]
    text = made.format_experiment("make it")
    assert yaml.safe_load(text) == made.settings


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("my_mug", "mug"),
        ("mug6", "mug"),
        ("my-mug_02", "mug"),
        ("mug 2 7", "mug"),
        ("2024", "concept"),
        ("k9", "k9"),
        ("r2d2", "r2d2"),
    ],
)
def test_few_pictures_without_captions_are_a_concept(project, pictures, capsys, name, called):
    for path in pictures.rglob("*.png"):
        if int(path.stem) > 4:
            path.unlink()
    (pictures / "0.txt").unlink()
    shipped = set((project / "conf/experiment").iterdir())
    assert main(["new", name, "--pictures", str(pictures)]) == 0
    assert "kind      concept: 5 pictures without captions: too few for more" in capsys.readouterr().out
    (written,) = set((project / "conf/experiment").iterdir()) - shipped
    _, config = experiment(project, written.stem)
    assert (config.caption.trigger, config.train.batch_size) == (f"a photo of sks {called}", 1)
    assert config.train.validation.every == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["my_dog", "--pictures", "nowhere"], "nowhere: no such folder"),
        (["a/b", "--pictures", "."], "is no name for a dataset"),
        (["my_dog", "--pictures", "conf/model"], "no pictures here: it holds"),
        (["demo_style", "--pictures", "PICTURES"], "conf/experiment/demo_style.yaml: is there already"),
        (["my_dog", "--pictures", "PICTURES", "--base", "sd99"], "no such model: sd99"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(project, pictures, capsys, words, message):
    before = files(project)
    assert main(["new", *(str(pictures) if word == "PICTURES" else word for word in words)]) == 1
    assert message in capsys.readouterr().err and files(project) == before


def test_outside_a_project_it_says_so(tmp_path, pictures, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_dog", "--pictures", str(pictures)]) == 1
    assert "run it in a checkout" in capsys.readouterr().err
