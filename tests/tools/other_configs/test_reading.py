"""Files as people have them are read, or refused in one message."""

import json
import math
import os
import tomllib
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.imported import is_off, read_value
from lorakiln.tools.other_configs.reading import read_config
from lorakiln.tools.other_configs.translation import describe, translate_file

CONFIGS = Path(__file__).parent / "configs"
# One command's options, as a TOML has them.
TOML = 'network_dim = 8\npretrained_model_name_or_path = "E:/my models/x.safetensors"\n'


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "x = ", "no TOML"),
        ("a.json", "{", "no JSON"),
        ("a.json", '{"x": 1}', "no config of a trainer"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.yaml", "x: 1\n", "no config of ai-toolkit"),
        ("a.txt", "hello", "no command of a training script"),
        ("a.sh", "python train_network.py --x 'open", "the command is not closed"),
        ("a.toml", 'network_dim = 8\ntrain_batch_size = "many"\n', "a value of sd-scripts's config is none"),
        ("a.txt", "\udcff", "no text in UTF-8"),
        ("a.toml", "", "is empty"),
        ("a.json", " \n", "is empty"),
        ("a.json", "null", "no config of a trainer"),
        ("a.toml", '[project]\nname = "x"\n', "holds no option of sd-scripts"),
        ("a.bat", 'python train_network.py --x "open', "the command is not closed"),
        ("a.sh", "accelerate launch train_dreambooth_lora_flux.py --rank 4", "a family of models that is none here"),
        ("a.sh", "accelerate launch flux_train_network.py --network_dim 4", "a family of models that is none here"),
        ("a.sh", "accelerate launch sdxl_train.py --learning_rate 1e-5", "trains no adapter"),
        ("a.sh", "# python train_network.py --network_dim 4", "no command of a training script"),
        ("a.yaml", "config:\n  a: &n [1]\n  process: *n\n", "aliases .* are not read"),
    ],
)
def test_what_is_none_is_refused_in_one_message(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=said) as told:
        translate_file(tmp_path / name)
    assert name in str(told.value)


@pytest.mark.parametrize("named", ["shared.toml", "shared"])
def test_a_commands_config_file_is_read_as_sd_scripts_finds_it(tmp_path, named):
    (tmp_path / "shared.toml").write_text("network_dim = 8\nlearning_rate = 1e-3\n")
    command = f"accelerate launch train_network.py --config_file {named} --learning_rate 1e-4"
    (tmp_path / "run.sh").write_text(command)
    assert read_config(tmp_path / "run.sh").options == {"network_dim": 8, "learning_rate": "1e-4"}


@pytest.mark.parametrize("option", ["config_file", "dataset_config"])
def test_a_damaged_file_that_a_command_names_is_told_by_its_own_name(tmp_path, option):
    (tmp_path / "damaged.toml").write_text("x = [")
    (tmp_path / "run.sh").write_text(f"python train_network.py --network_dim 4 --{option} damaged.toml")
    with pytest.raises(UserError, match="no TOML") as told:
        translate_file(tmp_path / "run.sh")
    assert "damaged.toml" in str(told.value)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"lorakiln_settings": "{"}, "no JSON"),
        ({"lorakiln_settings": "[" * 100_000}, "no JSON"),
        ({"lorakiln_settings": "[1]"}, "is no table of settings"),
        ({"lorakiln_settings": '{"train": {"adapter": "lora"}}'}, "a value of LoRAKiln's config is none"),
        ({"ss_network_dim": "8", "ss_network_args": "{"}, "a value of sd-scripts's config is none"),
        ({"ss_network_dim": "8", "ss_datasets": "[[["}, "a value of sd-scripts's config is none"),
    ],
)
def test_metadata_that_nobody_wrote_is_refused_in_one_message(tmp_path, metadata, said):
    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(UserError, match=said) as told:
        translate_file(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(told.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("utf8.toml", TOML.encode()),
        (
            "bom.toml",
            TOML.encode("utf-8-sig"),
        ),
        (
            "utf16.toml",
            TOML.encode("utf-16"),
        ),
        (
            "sh.sh",
            b"train_network.py --network_dim=8 \\\n --pretrained_model_name_or_path 'E:/my models/x.safetensors'",
        ),
        (
            "crlf.bat",
            b'train_network.py --network_dim 8 ^\r\n --pretrained_model_name_or_path="E:\\my models\\x.safetensors"',
        ),
        (
            "inside.cmd",
            b'python train_network.py "--pretrained_model_name_or_path=E:\\my models\\x.safetensors" --network_dim=8',
        ),
        (
            "set.bat",
            b'set "MODEL=E:\\my models\\x.safetensors"\r\npython train_network.py --network_dim 8 '
            b'--pretrained_model_name_or_path "%MODEL%"',
        ),
        (
            "tick.ps1",
            b'$base = "E:\\my models\\x.safetensors"\r\npython train_network.py `\r\n  --network_dim 8 `\r\n'
            b'  --pretrained_model_name_or_path "$base"',
        ),
        (
            "windows.txt",
            b'python train_network.py --pretrained_model_name_or_path "E:\\my models\\x.safetensors" --network_dim 8',
        ),
    ],
)
def test_however_it_is_written_it_says_the_same(tmp_path, name, text):
    (tmp_path / name).write_bytes(text)
    _, imported = translate_file(tmp_path / name)
    assert imported.settings["train.adapter.rank"] == 8
    assert imported.settings["model.path"].replace("\\", "/") == "E:/my models/x.safetensors"


TWO = """
BASE=runwayml
export MODEL_NAME="$BASE/stable-diffusion-v1-5"   # the first one's
export STEPS="${STEPS:-800}" RANK=4
NOTE='$BASE'
accelerate launch train_dreambooth_lora.py --pretrained_model_name_or_path=$MODEL_NAME \\
  --instance_data_dir=$DATA --max_train_steps=${STEPS:-700} --rank ${RANK:-8} --output_dir="$NOTE" "${MORE[@]}"
python draw.py --prompt x
MODEL_NAME=another
accelerate launch train_dreambooth_lora_sdxl.py --pretrained_model_name_or_path=$MODEL_NAME
""".replace("\\\\", "\\")


def test_a_script_is_read_up_to_its_first_command(tmp_path):
    (tmp_path / "two.sh").write_text(TWO)
    config, imported = translate_file(tmp_path / "two.sh")
    assert config.options == {
        "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5",
        "instance_data_dir": "$DATA",
        "max_train_steps": "800",
        "rank": "4",
        "output_dir": "$BASE",
    }
    told = "\n".join(describe(config, imported))
    assert "left out  $DATA: the file gives it no value" in told
    assert "left out  ${MORE[@]}: what the file puts in it" in told
    assert "left out  train_dreambooth_lora_sdxl.py: the file's first command is taken" in told
    assert "draw" not in told


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("comment.sh", "pip install x  # for train_network.py --x\n{} --network_dim=4 # 5", {"network_dim": "4"}),
        ("hash.sh", "{} --output_name=run#3 --note='a # b' --x", {"output_name": "run#3", "note": "a # b", "x": True}),
        ("pipe.sh", "{} --network_dim=32 2>&1 | tee log.txt", {"network_dim": "32"}),
        ("next.sh", "{} --placeholder_token '<cat-toy>' && echo done", {"placeholder_token": "<cat-toy>"}),
        ("backslash.sh", "# out is D:\\out\\\nSTEPS=800\n{} --a ${{STEPS:-5}}", {"a": "800"}),
        (
            "joined.sh",
            "OUT='$A'/\"$HOME\"/x\nHOME=/h\nIN=$HOME/y\n{} --a $OUT --b=$IN",
            {"a": "$A/$HOME/x", "b": "/h/y"},
        ),
        ("empty.sh", "A=\nB=${{A:-7}}\n{} --b $B", {"b": "7"}),
        ("set.txt", 'set "A=my base"\nset B=8\n{} --a "%A%" --b %B%', {"a": "my base", "b": "8"}),
        ("drive.bat", "set OUT=D:\\out\\\nset Steps=800\n{} --a %OUT% --b %STEPS%", {"a": "D:\\out\\", "b": "800"}),
    ],
)
def test_a_line_says_what_it_says_to_its_shell(tmp_path, name, text, options):
    (tmp_path / name).write_text(text.format("python train_network.py"))
    assert read_config(tmp_path / name).options == options


POWERSHELL = """
$pretrained_model = "./sd-models/model.ckpt" # of SD 1.5
$trainer_file = "./scripts/train_network.py"
$dim = 32
$resume = ""
$more = [System.Collections.ArrayList]::new()
if ($sdxl) {
    $trainer_file = "./scripts/sdxl_train_network.py"
}
& $pythonBin -m accelerate.commands.launch @launch $trainer_file `
    --pretrained_model_name_or_path=$pretrained_model --resume=$resume `
    --network_module="networks.lora" --network_dim=$dim --shuffle_caption @more
Write-Output "finished"
"""


def test_a_powershell_script_and_what_it_decides_as_it_runs(tmp_path):
    (tmp_path / "train.ps1").write_text(POWERSHELL)
    config, imported = translate_file(tmp_path / "train.ps1")
    assert (config.script, imported.choices["model"]) == ("train_network", "sd15")
    assert imported.settings["model.path"] == "./sd-models/model.ckpt" and config.options["resume"] == ""
    assert imported.settings["train.adapter.rank"] == 32 and config.options["shuffle_caption"] is True
    assert config.command.lists == ["@more"] and not config.command.unassigned


def test_a_number_that_a_loop_tries_is_asked_for(tmp_path):
    text = "for lr in 1e-4 1e-5; do\n  python train_dreambooth_lora.py --learning_rate=$lr\ndone\n"
    (tmp_path / "loop.sh").write_text(text)
    with pytest.raises(UserError, match=r"gives \$lr no value"):
        translate_file(tmp_path / "loop.sh")


def test_a_lora_that_says_nothing_of_its_training_is_refused(tmp_path):
    save_file({"lora_unet_x.alpha": torch.ones(())}, tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="says nothing of its training"):
        read_config(tmp_path / "bare.safetensors")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("1e-4", 1e-4),
        ("0.5", 0.5),
        ("-3", -3),
        ("True", True),
        ("none", None),
        ("cosine", "cosine"),
        (2.5, 2.5),
    ],
)
def test_values_of_texts(text, value):
    assert read_value(text) == value and type(read_value(text)) is type(value)


def test_what_is_off():
    assert all(map(is_off, (None, False, "", "None", "false", [], {})))
    assert not any(map(is_off, (0, 0.0, 1, True, "0", [0])))


def list_paths(tree, path=()):
    """Where a value stands in a config, tables and lists themselves included."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from list_paths(value, (*path, key))


@pytest.mark.parametrize("name", ["ai_toolkit.yaml", "onetrainer.json", "gui.json", "loha.toml", "dataset.toml"])
def test_whatever_stands_in_a_values_place_is_taken_or_refused_in_one_message(tmp_path, name):
    path = CONFIGS / name
    read = {".yaml": yaml.safe_load, ".json": json.loads, ".toml": tomllib.loads}[path.suffix]
    # sd-scripts' TOML may be a JSON as well.
    file = tmp_path / f"a{path.suffix.replace('toml', 'json')}"
    whole, outcomes = read(path.read_text()), set()
    for at in list_paths(whole):
        for value in (math.inf, [None]):
            config = deepcopy(whole)
            *above, last = at
            reduce(getitem, above, config)[last] = value
            file.write_text(yaml.safe_dump(config) if file.suffix == ".yaml" else json.dumps(config))
            try:
                config, imported = translate_file(file)
                imported.format_experiment([])
                describe(config, imported)
                outcomes.add("taken")
            except UserError:
                outcomes.add("refused")
    assert outcomes == {"taken", "refused"}


def test_variables_that_the_file_does_not_assign_are_told(tmp_path):
    (tmp_path / "run.sh").write_text(
        'BASE=/models/sd15\naccelerate launch train_network.py --network_dim 4 --output_name "$NAME" '
        "--pretrained_model_name_or_path $BASE --train_data_dir ${PICTURES}/fox --vae '%VAE%' --network_alpha 4\n"
    )
    config, imported = translate_file(tmp_path / "run.sh")
    told = [line for line in describe(config, imported) if "gives it no value" in line]
    assert [line.split()[2] for line in told] == ["$NAME:", "${PICTURES}:", "%VAE%:"]


@pytest.mark.parametrize("name", ["a.toml", "a.json", "a.yaml", "a.txt", "a.safetensors"])
def test_a_pipe_is_never_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="a pipe, not a regular file"):
        read_config(tmp_path / name)
