"""The text in a picture, read back as A1111 reads it."""

import re

from PIL import Image

from lorakiln.sampling import Applied, DrawJob, add_lora, format_infotext, save_picture

JOB = DrawJob("a red cat", 1, 64, 48)


def test_the_whole_text():
    demo = Applied("demo", 0.75, "0123456789ab")
    found = format_infotext(JOB, 20, 5.0, "ugly", "tiny", [demo], model_hash="fedcba9876")
    assert found == (
        "a red cat <lora:demo:0.75>\nNegative prompt: ugly\n"
        "Steps: 20, Sampler: DDIM, CFG scale: 5.0, Seed: 1, Size: 64x48, Model hash: fedcba9876, Model: tiny, "
        'Lora hashes: "demo: 0123456789ab"'
    )


def test_several_loras_are_listed_and_one_that_is_there_twice_once():
    used = [Applied("a", 1, "1" * 12), Applied("b", 0.5, "2" * 12), Applied("a", 0.5, "1" * 12)]
    assert format_infotext(JOB, 1, 1, loras=used).endswith(f'Lora hashes: "a: {"1" * 12}, b: {"2" * 12}"')


def test_a_lora_that_had_no_file_when_it_drew_is_told_as_others_are():
    used = Applied("demo", 2.0, "0123456789ab")
    for prompt, negative in (("a red cat", "ugly"), ("a cat,\nred", ""), ("", "ugly")):
        job = DrawJob(prompt, 1, 64, 48)
        before, after = (format_infotext(job, 20, 5, negative, "tiny", loras) for loras in ((), (used,)))
        assert add_lora(before, used) == after


def test_what_is_absent_is_left_out():
    assert format_infotext(JOB, 20, 5) == "a red cat\nSteps: 20, Sampler: DDIM, CFG scale: 5.0, Seed: 1, Size: 64x48"


def test_a_model_is_named_without_its_files_ending():
    for name in ("dream.safetensors", "dream.ckpt", "dream"):
        assert format_infotext(JOB, 1, 1, model=name).endswith(", Model: dream")
    assert format_infotext(JOB, 1, 1, model="v1.5").endswith(", Model: v1.5")


def test_clip_skip_counts_from_one():
    assert format_infotext(JOB, 1, 1, clip_skip=2).endswith(", Clip skip: 2")


def test_a_parser_finds_every_field_again():
    # The expression that A1111 splits the last line with.
    field = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
    fields = dict(field.findall(format_infotext(JOB, 20, 5, model='my, "good": one').splitlines()[-1]))
    assert fields["Model"] == r'"my, \"good\": one"' and fields["Size"] == "64x48" and len(fields) == 6


def test_pictures_keep_their_text_and_their_bytes(tmp_path):
    image = Image.new("RGB", (4, 3), (1, 2, 3))
    for text in ("plain\nSteps: 1", "猫 ☃"):
        for name in ("a.png", "b.png"):
            save_picture(image, tmp_path / "deep" / name, text)
        with Image.open(tmp_path / "deep/a.png") as found:
            assert found.text == {"parameters": text} and found.getpixel((0, 0)) == (1, 2, 3)
        assert (tmp_path / "deep/a.png").read_bytes() == (tmp_path / "deep/b.png").read_bytes()
