"""What drawing a picture costs: LoRAKiln as `evaluate` draws, and diffusers' pipeline with the LoRA fused.

    python -m benchmarks.drawing [--pictures 16] [--steps 20] [--rounds 5]

Both draw the same prompts from the same noise with the same LoRA, batch, steps, guidance and sampler (DDIM), in fp32
and one thread; how far their pictures are apart is told. Each runs in a process of its own, which draws one batch
before the clock counts; loading is `load_models`' matter.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.command import begin_result, make_parser, working_folder
from benchmarks.rounds import (
    ROOT,
    Result,
    compare_rounds,
    interleave,
    run_measured,
    spread,
    tell_ratios,
)

MODEL = ROOT / "models" / "tiny" / "sd"
OURS, PIPELINE = "LoRAKiln", "diffusers' pipeline"
HEAD = ["program", "CPU ms a picture", f"{PIPELINE} / it", "pictures/s", "peak MiB"]
GUIDANCE, BATCH, SIDE = 5.0, 8, 64
THINGS = ("cat", "castle", "snail", "drum", "rose", "bus", "key", "tree")
Draw = Callable[[Sequence[str], Sequence[int]], list[Any]]


def write_lora(file: Path) -> None:
    """Random weights of rank 16 on the attention, small enough to leave pictures pictures."""
    import torch
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    from benchmarks.bare_loop import TARGETS

    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(MODEL / "unet")
    unet.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS))
    tensors = {f"unet.{name}": value for name, value in get_peft_model_state_dict(unet).items()}
    save_file({name: 0.05 * torch.randn_like(value) for name, value in tensors.items()}, file)


def load_ours(lora: Path, steps: int) -> Draw:
    import torch

    from lorakiln.evaluate.painter import Painter
    from lorakiln.evaluate.shots import plan_shots
    from lorakiln.families.prompt_encoding import PLAIN
    from lorakiln.schema.whole_config import check_whole
    from pipelines.compose import compose_config

    given = [f"evaluate.steps={steps}", f"evaluate.guidance={GUIDANCE}", f"evaluate.batch_size={BATCH}"]
    config = check_whole(compose_config(["prepare.dataset=none", *given], ROOT / "conf"))
    settings, model = config.evaluate, config.model.model_copy(update={"path": str(MODEL)})
    painter = Painter({"": lora}, settings, model, torch.device("cpu"), PLAIN)

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        # One shot, of which the others are copies: `plan_shots` would lay out every prompt at every seed.
        alone = settings.model_copy(update={"prompts": [prompts[0]], "seeds": [0], "weights": [1.0], "between": []})
        shot = plan_shots(alone, "", (SIDE, SIDE), "", "").shots[0]
        shots = [
            replace(shot, prompt=replace(shot.prompt, text=text, bare=text), seed=seed)
            for text, seed in zip(prompts, seeds, strict=True)
        ]
        return painter(shots)

    return draw


def load_pipeline(lora: Path, steps: int) -> Draw:
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.set_num_threads(1)
    given = {"torch_dtype": torch.float32, "use_safetensors": True, "safety_checker": None}
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, **given)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(lora.parent, weight_name=lora.name)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        pictures: list[Any] = []
        for start in range(0, len(prompts), BATCH):
            noise = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + BATCH]]
            size = {"height": SIDE, "width": SIDE}
            options = {"num_inference_steps": steps, "guidance_scale": GUIDANCE, "generator": noise, **size}
            pictures += pipeline(list(prompts[start : start + BATCH]), **options).images
        return pictures

    return draw


LOADERS = {OURS: load_ours, PIPELINE: load_pipeline}


def draw_apart(name: str, lora: Path, steps: int, count: int, out: Path) -> None:
    """In a process of its own: what drawing `count` pictures takes after a first batch, and the pictures' bytes."""
    draw = LOADERS[name](lora, steps)
    prompts = [f"a {THINGS[number % len(THINGS)]}, outline style" for number in range(count)]
    draw([prompts[0]] * BATCH, range(BATCH))
    wall, cpu = time.perf_counter(), time.process_time()
    pictures = draw(prompts, range(count))
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    out.with_suffix(".bytes").write_bytes(b"".join(picture.tobytes() for picture in pictures))
    out.with_suffix(".json").write_text(json.dumps(taken))


def compare_pictures(one: bytes, other: bytes) -> float:
    """The mean difference of two sets of pictures, in shades of 255."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def measure(given: argparse.Namespace, work: Path) -> Result:
    count, lora = given.pictures, work / "lora.safetensors"
    call = [sys.executable, "-m", "benchmarks.drawing", "--lora", lora]
    run_measured(call, ROOT, work / "lora.log")
    settings = {"pictures": count, "batch": BATCH, "steps": given.steps, "guidance": GUIDANCE}
    result = begin_result(given, "drawing", settings, HEAD)
    outs = {name: work / str(number) for number, name in enumerate(LOADERS)}
    for number, name in interleave(list(LOADERS), result.list_rounds(given.rounds)):
        out = outs[name]
        words = ["--draw", name, "--steps", given.steps, "--pictures", count, "--to", out]
        cost = run_measured([*call, *words], ROOT, out.with_suffix(".log"))
        taken = json.loads(out.with_suffix(".json").read_text())
        drawn = {f"drawing_{what}": round(seconds, 3) for what, seconds in taken.items()}
        result.add(cost, program=name, round=number, **drawn)
    one, other = (out.with_suffix(".bytes").read_bytes() for out in outs.values())
    cpu = {
        name: {record["round"]: record["drawing_cpu"] / count for record in result.records if record["program"] == name}
        for name in LOADERS
    }
    for name in LOADERS:
        mine = [record for record in result.records if record["program"] == name]
        result.rows.append(
            [
                name,
                spread([1000 * seconds for seconds in cpu[name].values()], 0),
                spread(compare_rounds(cpu[name], cpu[PIPELINE])),
                spread([count / record["drawing_wall"] for record in mine]),
                spread([record["peak"] for record in mine], 0),
            ]
        )
    result.facts = {
        "CPU time of a picture, theirs / ours": tell_ratios(cpu, OURS),
        "mean difference of the pictures, of 255": round(compare_pictures(one, other), 3),
    }
    return result


def main() -> None:
    parser = make_parser(__doc__, "drawing")
    parser.add_argument("--pictures", type=int, default=16, help=f"of which {BATCH} are drawn at once [16]")
    parser.add_argument("--steps", type=int, default=20, help="of denoising [20]")
    parser.add_argument("--lora", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--draw", choices=list(LOADERS), help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.draw:
        draw_apart(given.draw, given.lora, given.steps, given.pictures, given.to)
    elif given.lora:
        write_lora(given.lora)
    elif given.pictures < 1 or given.pictures % BATCH:
        parser.error(f"--pictures: whole batches of {BATCH}, so that neither program fills one up")
    else:
        with working_folder(given) as work:
            measure(given, work).write(given.out)


if __name__ == "__main__":
    main()
