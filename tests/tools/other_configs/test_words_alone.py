"""Scripts of textual inversion become experiments of a word and no LoRA."""

import pytest

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.translation import translate_file


def import_command(tmp_path, command):
    (tmp_path / "go.sh").write_text(f"accelerate launch {command}")
    return translate_file(tmp_path / "go.sh")[1]


KOHYA = "--token_string foxx --init_word fox --num_vectors_per_token 4 --learning_rate 5e-3 --train_data_dir /a/fox"
DIFFUSERS = "--placeholder_token '<foxx>' --initializer_token fox --num_vectors 5 --train_data_dir fox"


@pytest.mark.parametrize(("script", "family"), [("train", "sd"), ("sdxl_train", "sdxl")])
def test_sd_scripts(tmp_path, compose_imported, script, family):
    imported = import_command(tmp_path, f"{script}_textual_inversion.py {KOHYA} --use_object_template --weights a.pt")
    config = compose_imported(imported)
    (word, one), train = *config.train.tokens.items(), config.train
    assert (word, one.init, one.vectors, train.parts, config.model.family) == ("foxx", "fox", 4, [], family)
    assert (train.optimizer.lr, train.steps, train.adapter.init_from) == (5e-3, 1600, "a.pt")
    assert (config.caption.trigger, config.caption.class_tokens) == ("foxx", "a photo of foxx")
    # Nothing is said of an adapter, which there is not.
    assert not imported.left and not [text for text in imported.decided if "adapter" in text or "parts" in text]


def test_diffusers(tmp_path, compose_imported):
    options = f"{DIFFUSERS} --learnable_property style --learning_rate 5e-4 --scale_lr --save_steps 500"
    batch = "--train_batch_size 1 --gradient_accumulation_steps 4 --validation_steps 250 --validation_prompt 'a <foxx>'"
    imported = import_command(tmp_path, f"textual_inversion.py {options} {batch}")
    config = compose_imported(imported)
    (word, one), train = *config.train.tokens.items(), config.train
    assert (word, one.init, one.vectors, train.parts) == ("<foxx>", "fox", 5, [])
    # The script multiplies its rate by what a step holds.
    assert (train.optimizer.lr, train.batch_size, train.micro_batch, train.steps) == (2e-3, 4, 1, 5000)
    assert (train.save_every, train.samples.every, train.samples.prompts) == (500, 250, ["a <foxx>"])
    assert config.caption.class_tokens == "a picture in the style of <foxx>" and not imported.left


def test_a_length_that_is_said_counts(tmp_path):
    settings = import_command(tmp_path, f"textual_inversion_sdxl.py {DIFFUSERS} --num_train_epochs 20").settings
    assert settings["train.epochs"] == 20 and "train.steps" not in settings
    assert settings["train.batch_size"] == 16


def test_a_rate_is_scaled_of_every_script(tmp_path):
    imported = import_command(
        tmp_path, "train_text_to_image_lora.py --scale_lr --learning_rate 1e-4 --train_batch_size 2"
    )
    assert imported.settings["train.optimizer.lr"] == 2e-4 and "for --scale_lr" in "\n".join(imported.decided)


def test_vectors_of_each_block_are_refused(tmp_path):
    with pytest.raises(UserError, match="trains other vectors for each block"):
        import_command(tmp_path, f"train_textual_inversion_XTI.py {KOHYA}")
