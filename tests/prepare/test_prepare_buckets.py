"""kohya's bucket rule against the values of its own code."""

import pytest

from lorakiln.prepare.buckets import choose_bucket, list_bucket_sizes
from lorakiln.schema.prepare import BucketSettings


def buckets(longest: int, shortest: int = 256, step: int = 64, **more) -> BucketSettings:
    return BucketSettings(min=shortest, max=longest, step=step, **more)


def both(sizes: str) -> set[tuple[int, int]]:
    pairs = {tuple(map(int, size.split("x"))) for size in sizes.split()}
    return pairs | {(height, width) for width, height in pairs}


@pytest.mark.parametrize(
    ("resolution", "longest", "expected"),
    [
        (512, 1024, "256x832 256x896 256x960 256x1024 320x704 320x768 384x640 448x576 512x512"),
        (768, 1024, "256x1024 320x1024 384x1024 448x1024 512x1024 576x960 576x1024 640x896 704x832 768x768"),
        (
            1024,
            2048,
            "256x2048 320x2048 384x2048 448x2048 512x1856 512x1920 512x1984 512x2048 576x1664 576x1728 576x1792 "
            "640x1536 640x1600 704x1408 704x1472 768x1280 768x1344 832x1216 896x1152 960x1088 1024x1024",
        ),
        # 404 x 404 pixels make 640 x 255.03: the shortest side of 256 is not reached.
        (404, 1024, "256x512 256x576 320x448 384x384"),
    ],
)
def test_all_buckets_of_a_resolution(resolution, longest, expected):
    assert list(list_bucket_sizes((resolution, resolution), 256, longest, 64)) == sorted(both(expected))


@pytest.mark.parametrize(
    ("resolution", "shortest", "longest", "step", "count"),
    [
        (512, 256, 1024, 64, 17),
        (768, 256, 1024, 64, 19),
        (1024, 256, 1024, 64, 25),
        (1024, 256, 2048, 64, 41),
        (1024, 512, 2048, 64, 33),
        (1024, 256, 2048, 32, 81),
    ],
)
def test_how_many_buckets(resolution, shortest, longest, step, count):
    assert len(list_bucket_sizes((resolution, resolution), shortest, longest, step)) == count


def test_limits_are_rounded_outwards_to_steps():
    assert list_bucket_sizes((512, 512), 300, 1000, 64) == list_bucket_sizes((512, 512), 256, 1024, 64)


@pytest.mark.parametrize(
    ("size", "resolution", "longest", "bucket"),
    [
        ((1920, 1080), 1024, 2048, (1344, 768)),
        ((3000, 2000), 1024, 2048, (1216, 832)),
        ((800, 600), 1024, 2048, (1152, 896)),
        ((500, 900), 1024, 2048, (768, 1344)),
        ((1920, 1080), 512, 1024, (640, 384)),
        ((3000, 2000), 512, 1024, (640, 384)),
        # Of the ratios' logarithms another is nearer.
        ((1140, 1000), 512, 1024, (512, 512)),
        ((1920, 1000), 512, 1024, (640, 384)),
        ((2690, 1000), 1024, 2048, (1600, 640)),
    ],
)
def test_chosen_bucket(size, resolution, longest, bucket):
    assert choose_bucket(size, (resolution, resolution), buckets(longest)).bucket == bucket


@pytest.mark.parametrize(
    ("size", "resolution", "bucket", "resized"),
    [
        ((1920, 1080), 1024, (1344, 768), (1365, 768)),
        ((800, 600), 1024, (768, 576), (800, 600)),
        ((500, 900), 1024, (448, 896), (500, 900)),
        ((3000, 2000), 512, (576, 384), (576, 384)),
    ],
)
def test_without_upscaling(size, resolution, bucket, resized):
    placement = choose_bucket(size, (resolution, resolution), buckets(1024, no_upscale=True))
    assert (placement.bucket, placement.resized) == (bucket, resized)
    assert placement.scale <= 1


def test_without_upscaling_a_picture_less_than_a_step_is_refused():
    with pytest.raises(ValueError, match="40x100 is less than one bucket step of 64"):
        choose_bucket((40, 100), (512, 512), buckets(1024, no_upscale=True))


def test_a_bucket_of_the_very_size_is_taken_unchanged():
    placement = choose_bucket((448, 576), (512, 512), buckets(1024))
    assert placement.bucket == placement.resized == (448, 576)
    assert placement.crop == (0, 0, 448, 576)
    assert placement.scale == 1


def test_one_square_for_all():
    placement = choose_bucket((800, 600), (512, 512), buckets(1024, enable=False))
    assert (placement.bucket, placement.resized, placement.crop) == (
        (512, 512),
        (683, 512),
        (85, 0, 597, 512),
    )


def test_a_rectangle_has_the_buckets_of_its_area():
    # sd-scripts' make_bucket_resolutions((768, 512), 256, 1024, 64), which keeps to 393,216 pixels.
    expected = "256x1024 320x1024 384x896 384x960 384x1024 448x832 512x704 512x768 576x576 576x640"
    assert list(list_bucket_sizes((768, 512), 256, 1024, 64)) == sorted(both(expected))
    assert choose_bucket((1500, 1000), (768, 512), buckets(1024)).bucket == (768, 512)
    placement = choose_bucket((800, 600), (768, 512), buckets(1024, enable=False))
    assert (placement.bucket, placement.resized) == ((768, 512), (768, 576))


@pytest.mark.parametrize("no_upscale", [False, True])
def test_every_picture_covers_its_bucket_and_is_cropped_in_the_middle(no_upscale):
    for width in range(64, 2200, 97):
        for height in range(64, 2200, 89):
            placement = choose_bucket((width, height), (512, 512), buckets(1024, no_upscale=no_upscale))
            left, top, right, bottom = placement.crop
            assert (right - left, bottom - top) == placement.bucket
            assert left >= 0 and placement.resized[0] - right - left in (0, 1)
            assert top >= 0 and placement.resized[1] - bottom - top in (0, 1)
            assert placement.bucket[0] * placement.bucket[1] <= 512 * 512
            assert placement.bucket[0] % 64 == placement.bucket[1] % 64 == 0
