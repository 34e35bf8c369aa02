"""What preparing photographs costs: LoRAKiln's prepare, plain Pillow, and sd-scripts' tool where it is given.

    python -m benchmarks.prepare [--sd-scripts DIR] [--photos 2 12] [--rounds 5]

JPEGs of 12 megapixels become PNGs of about 512 x 512 in one process. Plain Pillow decodes all of each, turns it as its
EXIF says, shrinks it by Lanczos, crops the middle, and writes a PNG. sd-scripts' tools/resize_images_to_resolution.py
keeps the shape, on as many pixels; of the commit that was tried it takes the height for the width, which is put
right when it runs. LoRAKiln does more: colour profiles, damage, near-duplicates, a record of each.
"""

import argparse
import runpy
import shutil
import sys
from pathlib import Path

from benchmarks.command import begin_result, check_short_and_long, make_parser, working_folder
from benchmarks.peers import describe_checkout, find_python
from benchmarks.rounds import (
    Result,
    collect_costs,
    compare_rounds,
    divide_work,
    measure_pairs,
    run_measured,
    spread,
    tell_ratios,
)
from benchmarks.workplace import make_workplace, run_stage

OURS, PILLOW, KOHYA = "LoRAKiln", "plain Pillow", "sd-scripts"
SIDE = 512
HEAD = ["program", "CPU ms a picture", f"{PILLOW} / it", "pictures/s", "start, CPU s", "peak MiB"]
SETTINGS = (
    "caption=none",
    f"prepare.resolution={SIDE}",
    "prepare.bucket.enable=false",
    "prepare.workers=1",
)


def shrink_by_pillow(source: Path, out: Path) -> None:
    from PIL import Image, ImageOps

    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
        ImageOps.fit(upright, (SIDE, SIDE), Image.Resampling.LANCZOS).save(out / f"{file.stem}.png")


def shrink_by_sd_scripts(code: Path, source: Path, out: Path) -> None:
    """In sd-scripts' own Python, with height and width given in the order in which they are taken."""
    sys.path.insert(0, str(code))
    from library import utils

    resize = utils.resize_image
    utils.resize_image = lambda image, height, width, high, wide, *more: resize(image, width, height, wide, high, *more)
    tool = code / "tools" / "resize_images_to_resolution.py"
    words = [str(source), str(out), "--max_resolution", f"{SIDE}x{SIDE}", "--divisible_by", "64", "--save_as_png"]
    sys.argv = [str(tool), *words]
    runpy.run_path(str(tool), run_name="__main__")


def measure(given: argparse.Namespace, work: Path) -> Result:
    few, many = given.photos
    raws = {}
    for count in (few, many):
        raws[count] = work / f"raw-{count}"
        photos = raws[count] / "photos"
        run_measured(
            [sys.executable, "-m", "benchmarks.pictures", "photos", count, photos, "--size", *given.size],
            work,
            work / "pictures.log",
        )
    places = {
        count: make_workplace(work / f"ours-{count}", "prepare.dataset=photos", f"paths.raw={raw}", *SETTINGS)
        for count, raw in raws.items()
    }
    programs, versions = [OURS, PILLOW], {}
    if given.sd_scripts:
        programs.append(KOHYA)
        versions[KOHYA] = describe_checkout(given.sd_scripts)
        python, code = find_python(given.sd_scripts, given.sd_scripts_python), given.sd_scripts.resolve()
    settings = {"photos": f"{few} and {many}", "pixels": "x".join(map(str, given.size))}
    result = begin_result(given, "prepare", settings, HEAD, versions)

    def run(name: str, count: int, number: int) -> None:
        out, photos = work / "made", raws[count] / "photos"
        shutil.rmtree(out, ignore_errors=True)
        if name == OURS:
            out = places[count] / "outputs" / "prepared"
            shutil.rmtree(out, ignore_errors=True)
            cost = run_stage(places[count], "prepare")
        else:
            starter = [sys.executable, "-m", "benchmarks.prepare", "--shrink", photos, out]
            if name == KOHYA:
                starter = [python, Path(__file__), "--shrink", photos, out, "--sd-scripts", code]
            cost = run_measured(starter, work, work / f"{name}.log")
        if len(list(out.rglob("*.png"))) != count:
            sys.exit(f"{name} has not made {count} pictures")
        result.add(cost, program=name, round=number, photos=count)

    measure_pairs(programs, result.list_rounds(given.rounds), (few, many), run)
    short, long = (collect_costs(result.records, photos=count) for count in (few, many))
    cpu, wall = (divide_work(short, long, (few, many), of) for of in ("cpu", "wall"))
    for name in programs:
        result.rows.append(
            [
                name,
                spread([1000 * seconds for seconds in cpu[name].values()], 0),
                spread(compare_rounds(cpu[name], cpu[PILLOW])),
                spread([1 / seconds for seconds in wall[name].values() if seconds > 0]),
                spread([cost.cpu - few * cpu[name][one] for one, cost in short[name].items()], 1),
                spread([cost.peak for cost in long[name].values()], 0),
            ]
        )
    result.facts = {"CPU time of a picture, theirs / ours": tell_ratios(cpu, OURS)}
    return result


def main() -> None:
    parser = make_parser(__doc__, "prepare")
    parser.add_argument("--photos", type=int, nargs=2, default=(2, 12), help="in the short and the long run [2 12]")
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), help="of the photos, pixels [4000 3000]")
    parser.add_argument("--sd-scripts", type=Path, metavar="DIR", help="a checkout of sd-scripts")
    parser.add_argument("--sd-scripts-python", type=Path, help="to run it with [DIR/venv/bin/python]")
    parser.add_argument("--shrink", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.shrink:
        if given.sd_scripts:
            shrink_by_sd_scripts(given.sd_scripts, *given.shrink)
        else:
            shrink_by_pillow(*given.shrink)
        return
    check_short_and_long(parser, "--photos", given.photos)
    with working_folder(given) as work:
        measure(given, work).write(given.out)


if __name__ == "__main__":
    main()
