"""Bytes of live tensors, against sums by hand and against what torch's allocator really hands out."""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lorakiln.families import load_family
from lorakiln.families.tensor_memory import META, GpuRules, Peak, count_held_bytes


def allocated(work) -> int:
    """The most that the CPU's allocator had handed out while `work` ran, beyond what it had before."""
    # What earlier work has left in circles would be let go meanwhile, and be subtracted.
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    now = most = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_live_bytes_are_counted_and_let_go(device):
    with Peak() as peak:
        x = torch.empty(1000, device=device)
        assert (peak.now, peak.most) == (4000, 4000)
        y = (x + 1).half()  # a sum of 4000 bytes, gone once it is converted
        assert (peak.now, peak.most) == (6000, 10_000)
        view = y.view(10, 100)[1]  # no bytes of its own
        y.add_(1)
        assert peak.now == 6000
        del y
        assert peak.now == 6000
        del view
        assert (peak.now, peak.again(), peak.most) == (4000, 4000, 4000)


def test_what_was_made_outside_is_counted_when_it_is_shown():
    layer = nn.Linear(10, 20)
    with Peak() as peak:
        peak.hold(layer.parameters())
        peak.hold(layer.parameters())
    assert peak.now == count_held_bytes(layer) == 4 * (200 + 20)


def test_the_same_operation_again_takes_the_same():
    # It is not worked out twice; what it gives is new nevertheless.
    x = torch.empty(8, 16, 32, 32, device=META, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    norm, layer = (part.to(torch.bfloat16) for part in (nn.GroupNorm(4, 16).to(META), nn.Conv2d(16, 32, 3).to(META)))
    with Peak() as peak:
        found = []
        for _ in range(2):
            before = peak.again()
            out = layer(norm(x))
            found.append((peak.now - before, peak.most - before, out.shape, out.stride(), out.dtype))
            kept = out  # noqa: F841
            del out, kept
    assert found[0] == found[1]
    assert found[0][2:] == ((8, 32, 30, 30), layer(norm(x)).stride(), torch.bfloat16)


def test_attention_holds_no_matrix():
    q = torch.empty(1, 8, 4096, 40, device=META, dtype=torch.bfloat16, requires_grad=True)
    with Peak() as peak, GpuRules():
        out = F.scaled_dot_product_attention(q, q, q)
        # The output, and a float32 a row for the backward pass.
        assert peak.now == q.nbytes + 4 * 8 * 4096
        out.sum().backward()
        assert peak.most < 8 * q.nbytes < 8 * 4096 * 4096 * 2
    assert q.grad.shape == q.shape


@pytest.mark.parametrize(("single", "given"), [(True, torch.float32), (False, torch.bfloat16)])
def test_autocast_converts_what_it_converts_on_a_gpu(single, given):
    x = torch.empty(2, 4, 8, device=META)
    weight, bias = torch.empty(8, 8, device=META), torch.empty(8, device=META)
    with GpuRules(single=single) as rules, rules.autocast(torch.bfloat16):
        half = F.linear(x, weight, bias)
        assert half.dtype == F.conv2d(x[None], torch.empty(3, 2, 1, 1, device=META)).dtype == torch.bfloat16
        assert F.layer_norm(half, (8,)).dtype == F.group_norm(half, 2).dtype == given
        with torch.autocast("cpu", enabled=False):
            assert F.layer_norm(half, (8,)).dtype == torch.bfloat16
            assert F.linear(x, weight, bias).dtype == torch.float32
    assert F.linear(x, weight).dtype == torch.float32


def test_without_gradients_autocast_keeps_the_weights_that_it_converted():
    weight = torch.empty(100, 100, device=META, requires_grad=True)
    with Peak() as peak, GpuRules() as rules, torch.no_grad():
        with rules.autocast(torch.bfloat16):
            for _ in range(2):
                F.linear(torch.empty(1, 100, device=META), weight)
            assert peak.now == 2 * weight.numel()
        assert peak.now == 0


@pytest.mark.parametrize("work", ["decode", "encode", "predict"])
def test_a_hollow_familys_peak_is_what_the_allocator_hands_out(micro_model, work):
    loaded = load_family(micro_model)
    hollow = loaded.hollow(("vae", "text", "network"))
    count = 4
    told = loaded.encode_prompts(["a cat"] * count)

    def run(family, device):
        noisy = torch.zeros(count, 4, 16, 16, device=device)
        with torch.no_grad():
            if work == "decode":
                family.decode_latents(noisy)
            elif work == "encode":
                family.encode_pictures(torch.zeros(count, 3, 64, 64, device=device))
            else:
                given = {name: value.to(device) for name, value in told.items()}
                family.predict(noisy, torch.zeros(count, dtype=torch.int64), given)

    run(loaded, "cpu")  # the first time, the libraries' own
    real = allocated(lambda: run(loaded, "cpu"))
    with Peak() as peak, GpuRules(single=False):
        for part in (hollow.network, hollow.vae):
            peak.hold([*part.parameters(), *part.buffers()])
        before = peak.again()
        run(hollow, "meta")
    # The CPU's convolutions take workspaces, as large as some of these small tensors.
    assert 0.7 * real < peak.most - before < 1.05 * real
