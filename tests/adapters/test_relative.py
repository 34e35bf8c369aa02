"""DoRA, OFT, BOFT and IA3 in kohya's names against their closed forms, written out here number by number."""

import math
import random

import pytest
import torch

from lorakiln.adapters.adapter import Layer
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files import reading
from lorakiln.lora_files.base_model import find_base_version
from lorakiln.lora_files.reading import read_any, read_lora

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "down_blocks.0.resnets.0.conv1"
GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def write(path, module, tensors, prefix="lora_unet_"):
    name = prefix + module.replace(".", "_")
    save_tensors(path, {f"{name}.{ending}": tensor for ending, tensor in tensors.items()})
    return path


def check(path, base, expected, kind, module=LINEAR):
    """With the weight `base` the file's only layer makes the weight `expected`."""
    found = read_lora(path, weight={f"unet.{module}": base}.get)
    layer = found.adapter.layers[f"unet.{module}"]
    assert found.kinds == {f"unet.{module}": kind}
    assert layer.shape == base.shape
    change = expected - base
    assert (layer.delta() - change).norm() < 2e-6 * change.norm()
    # And without a base it is known what it is, and asked for.
    pending = read_any(path).adapter.relative[f"unet.{module}"]
    assert pending.kind == kind and torch.equal(pending.change_of(base), layer.delta())
    with pytest.raises(UserError, match=f"what its {kind.replace('(', '.').replace(')', '.')} layers") as caught:
        read_lora(path)
    assert f"lorakiln convert {path} lora.safetensors --base BASE" in caught.value.fix


@pytest.mark.parametrize("per", ["output", "output, flat", "input"])
@pytest.mark.parametrize("tail", [(), (3, 3)])
@pytest.mark.parametrize("sides", [(6, 5), (5, 5)])
def test_dora_by_outputs_and_by_inputs(tmp_path, per, tail, sides):
    out, into = sides
    module = CONV if tail else LINEAR
    base, up, down = randn(out, into, *tail), randn(out, 2, *(1 for _ in tail)), randn(2, into, *tail)
    whole = base + 3.0 / 2 * torch.einsum("or,ri...->oi...", up.flatten(1), down)
    expected = torch.empty_like(whole)
    if per == "input":
        magnitude = randn(1, into, *(1 for _ in tail))
        for i in range(into):
            length = math.sqrt(float((whole[:, i].double() ** 2).sum()))
            expected[:, i] = magnitude.flatten()[i] * whole[:, i] / length
    else:
        magnitude = randn(out, 1, *(1 for _ in tail))
        for o in range(out):
            length = math.sqrt(float((whole[o].double() ** 2).sum()))
            expected[o] = magnitude.flatten()[o] * whole[o] / length
        magnitude = magnitude.flatten() if per == "output, flat" else magnitude
    tensors = {"lora_up.weight": up, "lora_down.weight": down, "alpha": torch.tensor(3.0), "dora_scale": magnitude}
    path = write(tmp_path / "x.safetensors", module, tensors)
    check(path, base, expected, "DoRA", module)


def test_dora_of_other_kinds(tmp_path):
    base, magnitude = randn(6, 4), randn(6, 1)

    def lengthened(change):
        whole = base + change
        return whole * magnitude / torch.stack([row.norm() for row in whole])[:, None]

    a, b, c, d = randn(6, 2), randn(2, 4), randn(6, 2), randn(2, 4)
    loha = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d, "alpha": torch.tensor(1.0)}
    path = write(tmp_path / "a.safetensors", LINEAR, loha | {"dora_scale": magnitude})
    check(path, base, lengthened(1 / 2 * (a @ b) * (c @ d)), "DoRA of LoHa")

    one, two = randn(2, 2), randn(3, 2)
    path = write(tmp_path / "b.safetensors", LINEAR, {"lokr_w1": one, "lokr_w2": two, "dora_scale": magnitude})
    check(path, base, lengthened(torch.kron(one, two)), "DoRA of LoKr")

    base, magnitude = randn(6, 5, 3, 3), randn(6, 1, 1, 1)
    up, mid, down = randn(6, 2, 1, 1), randn(2, 3, 3, 3), randn(3, 5, 1, 1)
    tucker = {"lora_up.weight": up, "lora_mid.weight": mid, "lora_down.weight": down, "dora_scale": magnitude}
    whole = base + torch.einsum("om,mnkl,ni->oikl", up[..., 0, 0], mid, down[..., 0, 0])
    expected = whole * magnitude / torch.stack([one.norm() for one in whole])[:, None, None, None]
    check(write(tmp_path / "c.safetensors", CONV, tucker), base, expected, "DoRA of LoCon (Tucker)", CONV)


def rotation(block):
    """(I + Q) (I - Q)^-1, Q = B - B^T, in double precision."""
    skew = block.double() - block.double().T
    identity = torch.eye(len(block), dtype=torch.float64)
    turn = (identity + skew) @ torch.linalg.inv(identity - skew)
    torch.testing.assert_close(turn @ turn.T, identity)
    return turn.float()


@pytest.mark.parametrize(("module", "tail"), [(LINEAR, ()), (CONV, (3, 3))])
def test_oft_turns_the_outputs_block_by_block(tmp_path, module, tail):
    base, blocks, rescale = randn(6, 5, *tail), randn(2, 3, 3), randn(6, 1, *(1 for _ in tail))
    expected = torch.zeros_like(base)
    for block in range(2):
        turn = rotation(blocks[block])
        for o in range(3):
            for other in range(3):
                expected[3 * block + o] += turn[other, o] * base[3 * block + other]
    path = write(tmp_path / "x.safetensors", module, {"oft_blocks": blocks, "alpha": torch.tensor(0.0)})
    check(path, base, expected, "OFT", module)
    check(write(tmp_path / "y.safetensors", module, {"oft_blocks": blocks}), base, expected, "OFT", module)
    path = write(tmp_path / "z.safetensors", module, {"oft_blocks": blocks, "rescale": rescale})
    check(path, base, expected * rescale, "OFT", module)


@pytest.mark.parametrize("prefix", ["lora_unet_", "oft_unet_"])
def test_a_constrained_oft(tmp_path, prefix):
    base, blocks = randn(6, 5), randn(2, 3, 3)
    norm = float((blocks - blocks.mT).norm())
    for alpha in (norm / 6 / 10, norm / 6 * 10):
        bound = min(1.0, alpha * 6 / norm)
        turn = torch.block_diag(*(rotation(block * bound) for block in blocks))
        tensors = {"oft_blocks": blocks, "alpha": torch.tensor(alpha)}
        path = write(tmp_path / "x.safetensors", LINEAR, tensors, prefix)
        check(path, base, turn.T @ base, "OFT")
    # LyCORIS says by 0 that there is no constraint, and sd-scripts that nothing turns.
    tensors = {"oft_blocks": blocks, "alpha": torch.tensor(0.0)}
    write(tmp_path / "x.safetensors", LINEAR, tensors, prefix)
    change = read_any(tmp_path / "x.safetensors").adapter.relative[f"unet.{LINEAR}"].change_of(base)
    assert (change.norm() < 1e-6) == (prefix == "oft_unet_")


@pytest.mark.parametrize(("module", "tail"), [(LINEAR, ()), (CONV, (3, 3))])
def test_boft_turns_ever_wider_neighbourhoods(tmp_path, module, tail):
    base, blocks = randn(16, 3, *tail), randn(3, 4, 4, 4) * 0.3
    expected = base
    for stage in range(3):
        # Blocks take by turns one output from each of two neighbours of `reach` outputs.
        reach = 2**stage * 2
        order = [
            start + side * reach + at for start in range(0, 16, 2 * reach) for at in range(reach) for side in (0, 1)
        ]
        turned = torch.zeros_like(expected)
        for block in range(4):
            places, turn = order[4 * block : 4 * block + 4], rotation(blocks[stage, block])
            for i in range(4):
                for j in range(4):
                    turned[places[i]] += turn[i, j] * expected[places[j]]
        expected = turned
    path = write(tmp_path / "x.safetensors", module, {"oft_blocks": blocks, "alpha": torch.tensor(0.0)})
    check(path, base, expected, "BOFT", module)


@pytest.mark.parametrize("on_input", [0, 1])
def test_ia3(tmp_path, on_input):
    for module, base, shape in ((LINEAR, randn(6, 5), (-1,)), (CONV, randn(6, 5, 3, 3), (1, -1, 1, 1))):
        factors = randn(5 if on_input else 6)
        expected = base.clone()
        for o in range(6):
            for i in range(5):
                expected[o, i] *= 1 + factors[i if on_input else o]
        tensors = {"weight": factors.reshape(shape), "on_input": torch.tensor(on_input)}
        check(write(tmp_path / f"{module}.safetensors", module, tensors), base, expected, "IA3", module)


LORA = {"lora_up.weight": randn(6, 2), "lora_down.weight": randn(2, 5)}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (LORA | {"dora_scale": randn(6, 1) * float("nan")}, "magnitude: it holds numbers that are not finite"),
        (LORA | {"dora_scale": torch.ones(6, 1, dtype=torch.int64)}, "magnitude: it is of int64"),
        (LORA | {"dora_scale": randn(2, 3, 1)}, "magnitude: its shape is 2x3x1"),
        (LORA | {"lora_up.weight": randn(6, 3), "dora_scale": randn(6, 1)}, "no low-rank update"),
        ({"dora_scale": randn(6, 1)}, "belong to no layer"),
        (LORA | {"oft_blocks": randn(2, 3, 3)}, "belong to no layer"),
        ({"oft_blocks": randn(2, 3, 4)}, "its blocks are 3x4"),
        ({"oft_blocks": randn(6, 3)}, "oft_blocks: its shape is 6x3"),
        ({"oft_blocks": randn(2, 3, 3) / 0}, "oft_blocks: it holds numbers that are not finite"),
        ({"oft_blocks": randn(2, 3, 3), "alpha": randn(2)}, "alpha: it is 2 of float32, no number"),
        ({"oft_blocks": randn(2, 3, 3), "rescale": torch.ones(6, dtype=torch.bool)}, "rescale: it is of bool"),
        ({"weight": randn(6), "on_input": randn(2)}, "on_input: it is 2 of float32, no number"),
        ({"weight": randn(6)}, "belong to no layer"),
    ],
)
def test_what_is_no_such_layer_gets_one_line(tmp_path, tensors, said):
    path = write(tmp_path / "x.safetensors", LINEAR, {key: value.clone() for key, value in tensors.items()})
    with pytest.raises(UserError, match=said) as caught:
        read_any(path)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    "tensors",
    [
        LORA | {"dora_scale": randn(7, 1)},
        LORA | {"dora_scale": randn(5, 1)},
        LORA | {"dora_scale": randn(1, 6)},
        LORA | {"dora_scale": randn(2, 3)},
        LORA | {"lora_up.weight": randn(5, 2), "lora_down.weight": randn(2, 6), "dora_scale": randn(6, 1)},
        {"oft_blocks": randn(3, 3, 3)},
        {"oft_blocks": randn(1, 5, 5)},
        {"oft_blocks": randn(2, 3, 3), "rescale": randn(5)},
        {"oft_blocks": randn(2, 2, 3, 3)},
        {"oft_blocks": randn(2, 3, 2, 2)},
        {"oft_blocks": randn(40, 3, 2, 2)},
        {"weight": randn(5), "on_input": torch.tensor(0)},
        {"weight": randn(6), "on_input": torch.tensor(1)},
        {"oft_blocks": torch.triu(torch.full((2, 3, 3), 1e30), 1)},
    ],
)
def test_what_does_not_fit_the_base_gets_one_line(tmp_path, tensors):
    path = write(tmp_path / "x.safetensors", LINEAR, {key: value.clone() for key, value in tensors.items()})
    with pytest.raises(UserError, match="a weight of 6x5 in the base model|not finite") as caught:
        read_lora(path, weight=lambda module: torch.ones(6, 5))
    assert str(path) in str(caught.value) and str(caught.value).count("\n") == 1


def test_a_row_of_no_length_stays_so(tmp_path):
    # LyCORIS adds a little to every norm.
    tensors = {"lora_up.weight": -torch.eye(3), "lora_down.weight": torch.eye(3), "dora_scale": torch.ones(3, 1)}
    path = write(tmp_path / "x.safetensors", LINEAR, tensors)
    layer = read_lora(path, weight=lambda module: torch.eye(3)).adapter.layers[f"unet.{LINEAR}"]
    assert torch.equal(layer.delta(), -torch.eye(3))


def test_what_would_be_too_large_is_refused_or_cut_down_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 200)
    path = write(tmp_path / "x.safetensors", LINEAR, LORA | {"dora_scale": randn(6, 1)})
    with pytest.raises(UserError, match="DoRA layers are of so high a rank") as caught:
        read_lora(path, weight=lambda module: torch.ones(6, 5))
    assert caught.value.fix.endswith("lora.safetensors --base BASE --rank 32`")
    small = Layer(torch.ones(1, 5), torch.ones(6, 1), 1.0)
    found = read_lora(path, lambda module, layer: small, lambda module: torch.ones(6, 5))
    assert found.adapter.layers == {f"unet.{LINEAR}": small}


def test_the_base_is_told_by_names_and_by_the_shapes_that_are_known(tmp_path):
    module = LINEAR.replace("attn1.to_q", "attn2.to_k")
    tensors = {"lora_up.weight": randn(6, 2), "lora_down.weight": randn(2, 768), "dora_scale": randn(6, 1)}
    assert find_base_version(read_any(write(tmp_path / "a.safetensors", module, tensors)).adapter) == "sd_v1"
    blocks = {"oft_blocks": randn(2, 3, 3)}
    assert find_base_version(read_any(write(tmp_path / "b.safetensors", module, blocks)).adapter) == "unknown"
    sgm = "input_blocks.4.1.transformer_blocks.0.attn2.to_k"
    for prefix in ("lora_unet_", "oft_unet_"):
        found = read_any(write(tmp_path / "c.safetensors", sgm, blocks, prefix)).adapter
        assert find_base_version(found) == "sdxl"
        assert set(found.relative) == {"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"}


SOUND = {
    "lora_unet_": [
        {"oft_blocks": (2, 4, 4), "alpha": (), "rescale": (8, 1)},
        {"oft_blocks": (2, 2, 4, 4), "alpha": ()},
        {"weight": (8,), "on_input": ()},
        {"lora_up.weight": (8, 2), "lora_down.weight": (2, 8), "alpha": (), "dora_scale": (8, 1)},
        {"lokr_w1": (2, 2), "lokr_w2": (4, 4), "dora_scale": (1, 8)},
    ],
    "unet.": [
        {"oft_R.weight": (2, 6)},
        {"boft_R": (2, 2, 4, 4), "boft_s": (8, 1)},
        {"ia3_l": (8, 1)},
        {"lora_A.weight": (2, 8), "lora_B.weight": (8, 2), "lora_magnitude_vector": (8,)},
    ],
}


@pytest.mark.parametrize("prefix", SOUND)
def test_tensors_of_any_kind_change_the_weight_or_get_one_line(tmp_path, prefix):
    choice, path, outcomes = random.Random(0).choice, tmp_path / "x.safetensors", set()
    name = prefix + (LINEAR.replace(".", "_") if prefix == "lora_unet_" else LINEAR)
    for _ in range(300):
        shapes = dict(choice(SOUND[prefix]))
        odd, how = choice(sorted(shapes)), choice(("nothing", "shape", "dtype", "size", "gone", "more"))
        if how == "shape":
            shapes[odd] = [choice((1, 2, 4, 6, 8)) for _ in range(choice((0, 1, 2, 3, 4)))]
        if how == "more":
            shapes |= choice(SOUND[prefix])
        tensors = {f"{name}.{end}": torch.randn(shape, generator=GENERATOR) for end, shape in shapes.items()}
        tensor = tensors.pop(f"{name}.{odd}")
        if how != "gone":
            tensor = tensor * choice((1e4, 1e30, math.nan, math.inf)) if how == "size" else tensor
            dtypes = (torch.half, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn)
            tensors[f"{name}.{odd}"] = tensor.to(choice(dtypes)) if how == "dtype" else tensor
        save_tensors(path, tensors)
        try:
            (layer,) = read_lora(path, weight=lambda module: torch.eye(8)).adapter.layers.values()
            assert torch.isfinite(layer.delta()).all()
            outcomes.add("read")
        except UserError as error:
            assert str(error).count("\n") <= 1
            outcomes.add(how)
    assert outcomes == {"read", "shape", "dtype", "size", "gone", "more"}
