"""What is measured, and that the pipeline draws what diffusers' own would."""

from collections import Counter

import numpy as np
import torch

from lorakiln.sampling import DrawJob, draw
from recipes.tiny import measure, workspace
from recipes.tiny.captions import BASE_STYLES, THINGS
from recipes.tiny.diffusion import load_pipeline


def test_bars_are_compared_part_by_part():
    good = {part: dict(bars) for part, bars in measure.BARS.items()}
    assert measure.list_shortfalls(good) == []
    good["sd"]["thing"] = 0.5
    assert measure.list_shortfalls(good) == ["sd: thing is 0.5, the bar is 0.7"]


def test_every_thing_is_asked_for_equally_often_in_the_styles_that_the_base_knows():
    asked = measure.list_labels(3 * len(THINGS))
    assert set(Counter(thing for thing, _, _ in asked).values()) == {3}
    assert {style for _, style, _ in asked} == set(BASE_STYLES)
    assert asked == measure.list_labels(3 * len(THINGS))


def test_the_pictures_are_those_of_diffusers_own_pipeline():
    prompts, size, steps = ["a cat, flat style, blue background", "an owl, glossy style"], (80, 48), 3
    pipe = load_pipeline(workspace.MODELS / "sd")
    theirs = pipe(
        prompts,
        width=size[0],
        height=size[1],
        num_inference_steps=steps,
        guidance_scale=measure.GUIDANCE,
        generator=[torch.Generator().manual_seed(500 + i) for i in range(2)],
        output_type="np",
    ).images
    jobs = [DrawJob(prompt, 500 + i, *size) for i, prompt in enumerate(prompts)]
    ours = draw(measure.load_base(workspace.MODELS / "sd"), jobs, steps, measure.GUIDANCE, batch_size=2)
    for one, other in zip(ours, theirs, strict=True):
        # The same numbers; their last bits may fall on either side of a half.
        assert np.abs(np.asarray(one).astype(int) - (other * 255).round()).max() <= 1


def test_a_contact_sheet_has_room_for_every_picture():
    pictures = [np.full((48, 80, 3), i + 1, np.uint8) for i in range(5)]
    sheet = np.asarray(measure.make_contact_sheet(pictures, columns=2))
    assert sheet.shape == (3 * 82, 2 * 82, 3)
    assert [sheet[82 * (i // 2) + 10, 82 * (i % 2) + 10, 0] for i in range(5)] == [1, 2, 3, 4, 5]
