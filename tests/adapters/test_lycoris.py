"""LyCORIS' kinds of layers against their closed forms, written out here element by element."""

from pathlib import Path

import pytest
import torch

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.lokr import KIND, split
from lorakiln.adapters.protocol import Stored
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files import reading
from lorakiln.lora_files.reading import read_lora

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "down_blocks.0.resnets.0.conv1"
SHORTCUT = "down_blocks.1.resnets.0.conv_shortcut"


GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def read(path, module, tensors, **options):
    name = "lora_unet_" + module.replace(".", "_")
    save_tensors(path, {f"{name}.{ending}": tensor for ending, tensor in tensors.items()})
    return read_lora(path, **options)


def check(path, module, tensors, expected, kind, rank):
    """The change that is read is `expected`, at a rank of `rank`."""
    found = read(path, module, tensors)
    layer = found.adapter.layers[f"unet.{module}"]
    assert found.kinds == {f"unet.{module}": kind} and layer.rank == rank
    difference = (layer.delta() - expected).norm() / expected.norm()
    assert layer.delta().shape == expected.shape and difference < 1e-6


def test_a_tucker_locon(tmp_path):
    up, mid, down, alpha = randn(6, 3, 1, 1), randn(3, 4, 3, 3), randn(4, 5, 1, 1), torch.tensor(2.0)
    expected = torch.zeros(6, 5, 3, 3)
    for m in range(3):
        for n in range(4):
            expected += 2 / 4 * mid[m, n] * (up[:, m, 0] * down[n, :, 0, 0])[:, :, None, None]
    tensors = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down, "alpha": alpha}
    check(tmp_path / "x.safetensors", CONV, tensors, expected, "LoCon (Tucker)", 3)


@pytest.mark.parametrize(("module", "tail"), [(LINEAR, ()), (CONV, (3, 3)), (SHORTCUT, (1, 1))])
@pytest.mark.parametrize(("rank", "wanted"), [(2, 4), (3, 7)])
def test_loha(tmp_path, module, tail, rank, wanted):
    columns = 8 * 9 if tail == (3, 3) else 8
    a, b, c, d = randn(7, rank), randn(rank, columns), randn(7, rank), randn(rank, columns)
    expected = (1.5 / rank * (a @ b) * (c @ d)).reshape(7, 8, *tail)
    tensors = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(1.5)}
    # Of rank 3 the nine pairs are more than the weight's seven rows.
    check(tmp_path / "x.safetensors", module, tensors, expected, "LoHa", wanted)
    without = {key: value for key, value in tensors.items() if key != "alpha"}
    check(tmp_path / "y.safetensors", module, without, expected * rank / 1.5, "LoHa", wanted)


@pytest.mark.parametrize(("rank", "wanted"), [(2, 4), (3, 7)])
def test_loha_with_cores(tmp_path, rank, wanted):
    t, u = randn(rank, rank, 3, 3), randn(rank, rank, 3, 3)
    a, b, c, d = randn(rank, 7), randn(rank, 8), randn(rank, 7), randn(rank, 8)

    def whole(core, one, two):
        total = torch.zeros(7, 8, 3, 3)
        for i in range(rank):
            for j in range(rank):
                total += one[i][:, None, None, None] * two[j][None, :, None, None] * core[i, j]
        return total

    expected = 4.0 / rank * whole(t, a, b) * whole(u, c, d)
    tensors = {"hada_t1": t, "hada_t2": u, "hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    tensors["alpha"] = torch.tensor(4.0)
    check(tmp_path / "x.safetensors", CONV, tensors, expected, "LoHa", wanted)


def kronecker(one, two):
    """(p, q) and (s, t, ...) -> (p s, q t, ...), by its definition."""
    (p, q), (s, t, *tail) = one.shape, two.shape
    whole = torch.zeros(p * s, q * t, *tail)
    for i in range(p):
        for j in range(q):
            whole[i * s : (i + 1) * s, j * t : (j + 1) * t] = one[i, j] * two
    return whole


@pytest.mark.parametrize("first", ["whole", "factored"])
@pytest.mark.parametrize("second", ["whole", "factored"])
def test_lokr_of_a_linear_layer(tmp_path, first, second):
    tensors, scale = {"alpha": torch.tensor(3.0)}, 3.0 / 2
    if first == "whole":
        tensors["lokr_w1"] = one = randn(2, 3)
    else:
        tensors |= {"lokr_w1_a": (a := randn(2, 2)), "lokr_w1_b": (b := randn(2, 3))}
        one = a @ b
    if second == "whole":
        tensors["lokr_w2"] = two = randn(5, 4)
    else:
        tensors |= {"lokr_w2_a": (c := randn(5, 2)), "lokr_w2_b": (d := randn(2, 4))}
        two = c @ d
    if first == second == "whole":
        scale = 1.0  # whatever alpha says
    rank = 2 * (4 if second == "whole" else 2)
    check(tmp_path / "x.safetensors", LINEAR, tensors, scale * kronecker(one, two), "LoKr", rank)


def test_lokr_is_written_with_an_alpha_even_where_it_counts_for_nothing():
    """LyCORIS 4 reads no layer without; our files between the stages hold none where both factors are whole."""
    whole = {"lokr_w1": randn(2, 3), "lokr_w2": randn(5, 4)}
    layer = KIND.read(Stored(Path("x"), LINEAR, LINEAR, "dotted", whole))
    assert layer.fixed == {} and layer.rank is None
    written = KIND.tensors(layer, "kohya")
    assert written.keys() == {*whole, "alpha"} and float(written["alpha"]) == 1
    again = KIND.read(Stored(Path("x"), LINEAR, LINEAR, "kohya", written))
    torch.testing.assert_close(again.change_of(torch.zeros(10, 12)), torch.kron(*whole.values()))


@pytest.mark.parametrize("second", ["whole", "factored", "core"])
def test_lokr_of_a_convolution(tmp_path, second):
    tensors, scale = {"lokr_w1": (one := randn(2, 2)), "alpha": torch.tensor(1.0)}, 1.0 / 2
    if second == "whole":
        tensors["lokr_w2"], scale = (two := randn(3, 4, 3, 3)), 1.0
    elif second == "factored":
        a, b = randn(3, 2), randn(2, 4 * 9)
        tensors |= {"lokr_w2_a": a, "lokr_w2_b": b}
        two = (a @ b).reshape(3, 4, 3, 3)
    else:
        core, a, b = randn(2, 2, 3, 3), randn(2, 3), randn(2, 4)
        tensors |= {"lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}
        pairs = [(i, j) for i in range(2) for j in range(2)]
        two = sum(a[i][:, None, None, None] * b[j][None, :, None, None] * core[i, j] for i, j in pairs)
    rank = 6 if second == "whole" else 4
    check(tmp_path / "x.safetensors", CONV, tensors, scale * kronecker(one, two), "LoKr", rank)


@pytest.mark.parametrize(
    ("module", "shape", "rank"),
    [(LINEAR, (7, 5), 5), (LINEAR, (5, 7), 5), (CONV, (6, 4, 3, 3), 6), ("conv_in", (64, 4, 3, 3), 36)],
)
def test_full_differences(tmp_path, module, shape, rank):
    # Zero biases are no change; of others there is no LoRA.
    tensors = {"diff": (diff := randn(*shape)), "diff_b": torch.zeros(shape[0])}
    check(tmp_path / "x.safetensors", module, tensors, diff, "full difference", rank)


def test_a_unet_that_lycoris_wraps_by_itself(tmp_path):
    one, two, name = randn(2, 3), randn(4, 2), "lycoris_" + LINEAR.replace(".", "_")
    save_tensors(tmp_path / "x.safetensors", {f"{name}.lokr_w1": one, f"{name}.lokr_w2": two})
    found = read_lora(tmp_path / "x.safetensors")
    assert found.form == "kohya" and found.kinds == {f"unet.{LINEAR}": "LoKr"}
    torch.testing.assert_close(found.adapter.layers[f"unet.{LINEAR}"].delta(), torch.kron(one, two))
    flux = "lycoris_single_transformer_blocks_0_attn_to_q"
    save_tensors(tmp_path / "y.safetensors", {f"{flux}.lokr_w1": one, f"{flux}.lokr_w2": two})
    with pytest.raises(UserError, match="a LoRA for Flux"):
        read_lora(tmp_path / "y.safetensors")


def test_other_kinds_in_names_with_dots(tmp_path):
    diff, one, two = randn(7, 5), randn(2, 3), randn(4, 2)
    keys = {f"unet.{LINEAR}.diff": diff, f"unet.{LINEAR}.diff_b": torch.zeros(7)}
    other = LINEAR.replace("to_q", "to_k")
    save_tensors(tmp_path / "x.safetensors", keys | {f"unet.{other}.lokr_w1": one, f"unet.{other}.lokr_w2": two})
    found = read_lora(tmp_path / "x.safetensors")
    assert found.form == "diffusers"
    assert found.kinds == {f"unet.{LINEAR}": "full difference", f"unet.{other}": "LoKr"}
    torch.testing.assert_close(found.adapter.layers[f"unet.{LINEAR}"].delta(), diff)
    torch.testing.assert_close(found.adapter.layers[f"unet.{other}"].delta(), torch.kron(one, two))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"hada_w1_a": randn(4, 2), "hada_w1_b": randn(2, 4)}, "belong to no layer"),
        ({"lokr_w1": randn(2, 2)}, "lokr_w2_a is missing of a LoKr layer"),
        ({"lokr_w1": randn(2, 2), "lokr_w2_a": randn(4, 2), "lokr_w2_b": randn(3, 4)}, "no LoKr layer: its shapes"),
        (
            {"lokr_w1_a": randn(2, 1), "lokr_w1_b": randn(1, 2), "lokr_w2_a": randn(4, 2), "lokr_w2_b": randn(2, 4)},
            "no LoKr layer",
        ),
        (dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), randn(4, 2)), "no LoHa layer: its shapes"),
        ({"diff": randn(4, 4) * float("nan")}, "diff: it holds numbers that are not finite"),
        ({"diff": randn(4, 4, 3)}, "diff: its shape is 4x4x3"),
        ({"diff": randn(4)}, "it changes biases or norms too"),
        ({"diff": randn(4, 4), "diff_b": randn(4)}, "it changes biases or norms too, in 1 tensor"),
        ({"lora_down.weight": randn(2, 4), "lora_up.weight": randn(4, 2), "diff_b": randn(4)}, "diff_b"),
        ({"diff": torch.ones(4, 4, dtype=torch.int32)}, "diff: it is of int32"),
    ],
)
def test_what_no_lora_can_stand_for_is_refused_with_the_reason(tmp_path, tensors, said):
    with pytest.raises(UserError, match=said):
        read(tmp_path / "x.safetensors", LINEAR, {key: value.clone() for key, value in tensors.items()})


def test_what_would_be_too_large_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 1000)
    tensors = {"diff": randn(20, 20)}
    with pytest.raises(UserError, match="full difference layers are of so high a rank") as caught:
        read(tmp_path / "x.safetensors", LINEAR, tensors)
    assert "lorakiln convert" in caught.value.fix and "--rank" in caught.value.fix
    small = Layer(torch.ones(1, 20), torch.ones(20, 1), 1.0)
    found = read(tmp_path / "x.safetensors", LINEAR, tensors, shrink=lambda module, layer: small)
    assert found.adapter.layers == {f"unet.{LINEAR}": small}


@pytest.mark.parametrize(
    ("side", "factor", "expected"),
    # What LyCORIS' function gives; of 360 by 16 its table has another pair.
    [
        (127, 2, (1, 127)),
        (128, -1, (8, 16)),
        (128, 4, (4, 32)),
        (250, -1, (10, 25)),
        (250, 4, (2, 125)),
        (250, 8, (5, 50)),
        (360, 16, (15, 24)),
        (512, 16, (16, 32)),
        (1024, -1, (32, 32)),
        (32, 16, (2, 16)),
    ],
)
def test_sides_are_split_as_lycoris_splits_them(side, factor, expected):
    assert split(side, factor) == expected
