"""What the files' precision cannot hold of a layer."""

import pytest

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.hashing import hash_folder
from lorakiln.console.errors import UserError
from lorakiln.lora_files import diffusers_form, kohya_form
from tests.export.conftest import trained


def replace_last(run, change):
    path = run / "adapters" / "step-00000020.safetensors"
    layers = dict(diffusers_form.load(path).layers)
    name = sorted(layers)[0]
    layers[name] = change(layers[name])
    diffusers_form.save(Adapter(layers), path)
    return name


def test_what_half_precision_cannot_hold_is_refused_and_the_old_folder_stays(do, run):
    before = hash_folder(do())
    name = replace_last(run, lambda layer: Layer(layer.down * 1e12, layer.up, layer.alpha))
    with pytest.raises(UserError, match="too large for float16") as caught:
        do()
    assert name in str(caught.value)
    assert hash_folder(do("lora2", precision="bf16")) != before
    with pytest.raises(UserError):
        do()
    assert hash_folder(run.parent / "lora") == before


def changes(out, family):
    return {
        path.name: found.layers
        for path, found in (
            (out / "secret_folder.safetensors", kohya_form.load(out / "secret_folder.safetensors", family)),
            (out / "diffusers", diffusers_form.load(out / "diffusers" / "pytorch_lora_weights.safetensors")),
        )
    }


@pytest.mark.parametrize("factor", [1e-5, 1e7])
def test_factors_too_small_or_large_for_half_precision_are_evened_out(do, run, micro_family, capsys, factor):
    name = replace_last(run, lambda layer: Layer(layer.down, layer.up * factor, layer.alpha))
    expected = factor * trained(micro_family, 20).layers[name].delta()
    for found in changes(do(), micro_family).values():
        assert (found[name].delta() - expected).norm() < 4e-3 * expected.norm()
    assert "nearly zero" not in capsys.readouterr().out


def test_a_layer_that_is_nearly_zero_does_not_stop_the_export(do, run, micro_family, capsys):
    name = replace_last(run, lambda layer: Layer(layer.down, layer.up * 1e-11, layer.alpha))
    expected = trained(micro_family, 20).layers
    for found in changes(do(), micro_family).values():
        assert found[name].delta().norm() < 1e-9 * expected[name].delta().norm()
        other = next(one for one in expected if one != name)
        assert (found[other].delta() - expected[other].delta()).norm() < 4e-3 * expected[other].delta().norm()
    said = capsys.readouterr().out
    assert said.count("note: 1 layer is nearly zero beside the others; the precision loses up to ") == 2
    assert f"({name})" in said


def test_what_half_precision_loses_of_a_layer_that_counts_is_refused_by_name(do, run, micro_family):
    path = run / "adapters" / "step-00000020.safetensors"
    small = {
        name: Layer(layer.down, layer.up * 1e-11, layer.alpha)
        for name, layer in diffusers_form.load(path).layers.items()
    }
    diffusers_form.save(Adapter(small), path)
    with pytest.raises(UserError, match=r"weights are too small for float16, \d+% would be lost") as caught:
        do()
    assert "export.precision" in str(caught.value) and any(name in str(caught.value) for name in small)
    do(precision="fp32")
