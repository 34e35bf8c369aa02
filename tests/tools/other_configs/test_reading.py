"""Files as people have them are read, or refused in one message."""

import pytest
import torch
from safetensors.torch import save_file

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.imported import is_off, read_value
from lorakiln.tools.other_configs.reading import read_config
from lorakiln.tools.other_configs.translation import translate_file

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
