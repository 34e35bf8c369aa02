"""The words of the tiny world: things, styles, colours, and the form that its captions take."""

from __future__ import annotations

import random

# name -> code point of the emoji. Chosen so that 64 pixels tell them apart and every set draws the same thing;
# every name is countable and one word, so that "a {thing}" is always right.
_THINGS = """
    apple=1f34e pear=1f350 lemon=1f34b banana=1f34c watermelon=1f349 strawberry=1f353 cherry=1f352
    pineapple=1f34d avocado=1f951 eggplant=1f346 carrot=1f955 corn=1f33d pepper=1f336-fe0f mushroom=1f344
    croissant=1f950 pretzel=1f968 cheese=1f9c0 burger=1f354 pizza=1f355 taco=1f32e donut=1f369 cookie=1f36a
    cake=1f382 cupcake=1f9c1 lollipop=1f36d mug=1f37a tree=1f333 pine=1f332 palm=1f334 cactus=1f335
    tulip=1f337 rose=1f339 sunflower=1f33b clover=1f340 sun=2600-fe0f moon=1f319 star=2b50 cloud=2601-fe0f
    rainbow=1f308 snowman=26c4 flame=1f525 drop=1f4a7 bolt=26a1 globe=1f30d volcano=1f30b cat=1f431 dog=1f436
    mouse=1f42d rabbit=1f430 fox=1f98a bear=1f43b panda=1f43c tiger=1f42f lion=1f981 cow=1f42e pig=1f437
    frog=1f438 monkey=1f435 chicken=1f414 penguin=1f427 owl=1f989 elephant=1f418 turtle=1f422 snake=1f40d
    whale=1f433 fish=1f420 octopus=1f419 crab=1f980 snail=1f40c butterfly=1f98b bee=1f41d ladybug=1f41e
    spider=1f577-fe0f ghost=1f47b alien=1f47d robot=1f916 skull=1f480 pumpkin=1f383 house=1f3e0 castle=1f3f0
    tent=26fa car=1f697 bus=1f68c tractor=1f69c bicycle=1f6b2 train=1f682 airplane=2708-fe0f rocket=1f680
    helicopter=1f681 boat=26f5 anchor=2693 balloon=1f388 gift=1f381 crown=1f451 ring=1f48d hat=1f3a9
    shirt=1f455 dress=1f457 umbrella=2614 backpack=1f392 football=26bd basketball=1f3c0 trophy=1f3c6
    dice=1f3b2 guitar=1f3b8 trumpet=1f3ba drum=1f941 piano=1f3b9 camera=1f4f7 telephone=260e-fe0f clock=23f0
    hourglass=231b bulb=1f4a1 candle=1f56f-fe0f key=1f511 lock=1f512 bell=1f514 hammer=1f528 magnet=1f9f2
    book=1f4d5 pencil=270f-fe0f envelope=2709-fe0f heart=2764-fe0f diamond=1f48e bomb=1f4a3 kite=1fa81
    grape=1f347 kiwi=1f95d
"""
THINGS: dict[str, str] = dict(pair.split("=") for pair in _THINGS.split())

# style word -> the emoji set it comes from
STYLES: dict[str, str] = {"flat": "twitter", "soft": "google", "glossy": "fluent", "outline": "openmoji"}
# What the SD base may see. "outline" is the demo's style and stays new to it.
BASE_STYLES: tuple[str, ...] = ("flat", "glossy")
# Made from the sets' drawings (augmentation.py); the base and CLIP see them beside the sets' own styles.
DERIVED_STYLES: tuple[str, ...] = ("drawing", "icon", "illustration")

# colour word -> RGB, 0..255; far enough apart that a jitter of +-12 keeps the word true
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (243, 140, 40),
    "yellow": (247, 217, 76),
    "green": (66, 165, 80),
    "cyan": (90, 210, 220),
    "blue": (52, 92, 212),
    "purple": (132, 66, 184),
    "pink": (250, 158, 200),
    "gray": (128, 128, 130),
    "white": (243, 243, 243),
}

# Words that the tokenizer keeps whole although nothing here trains them: people write them in prompts.
_SPARE_WORDS = (
    "the of in on and with to at is one two big small little happy sad angry sleeping waving jumping smiling "
    "sitting running reading picture drawing photo illustration image icon background style light dark pale "
    "bright black brown simple cute old new good best quality high low bad blurry painting emoji character"
)
SPARE_WORDS = _SPARE_WORDS.split()


def choose_article(noun: str) -> str:
    """ "a" or "an", by the first letter (no thing here needs more)."""
    return "an" if noun[0] in "aeiou" else "a"


def caption(thing: str | None, style: str | None = None, colour: str | None = None) -> str:
    """The caption form: "a cat, flat style, blue background"; absent parts are left out."""
    parts = []
    if thing:
        parts.append(f"{choose_article(thing)} {thing}")
    if style:
        parts.append(f"{style} style")
    if colour:
        parts.append(f"{colour} background")
    return ", ".join(parts)


# What is read in a picture -> its names, each with the text by which a CLIP is asked for it (zero-shot).
QUESTIONS: dict[str, dict[str, str]] = {
    "thing": {thing: caption(thing) for thing in THINGS},
    "style": {style: caption(None, style) for style in STYLES},
    "colour": {colour: caption(None, None, colour) for colour in COLOURS},
}


def sample_caption(thing: str, style: str, colour: str, rng: random.Random) -> str:
    """A training caption: mostly the full form, one time in six with a part left out.

    A derived style is always named: what a caption without a style means is what the sets draw.
    """
    if style in DERIVED_STYLES:
        return caption(thing, style, colour if rng.random() > 0.05 else None)
    draw = rng.random()
    if draw < 0.05:
        return caption(thing, None, colour)
    if draw < 0.10:
        return caption(thing, style, None)
    if draw < 0.17:
        return caption(thing)
    return caption(thing, style, colour)
