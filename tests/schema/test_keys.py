"""Which settings the key of a content knows: those that decide it, all of them, and no others."""

from lorakiln.caption.text_cache import compute_content_keys
from lorakiln.captioners.blip import make_captioner
from lorakiln.encode.content_keys import Keys
from lorakiln.encode.variants import View, ViewedPicture
from lorakiln.evaluate.shots import plan_shots
from lorakiln.prepare.networks import Networks
from lorakiln.prepare.picture import NO_NETWORKS, compute_content_key
from lorakiln.prepare.stage import _facts
from lorakiln.rows import PreparedRow
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings
from tests.made_facts import prepared_row
from tests.schema.changing import known_to

GEOMETRY = {
    "resolution",
    "background",
    "bucket.enable",
    "bucket.min",
    "bucket.max",
    "bucket.step",
    "bucket.no_upscale",
    "upscale.above",
    "upscale.tile",
}
PLAIN = View()
PREPARE = PrepareSettings(dataset="mine", resolution=64, bucket={"min": 32, "max": 128, "step": 16})


def test_a_prepared_pictures_key():
    found = known_to(lambda settings: compute_content_key("0" * 64, ".png", settings), PREPARE)
    # Of a network it is the file's content that counts.
    faces = {"face.least_score", "face.closest", "face.widest"}
    notes = {"animated", "min_side", "max_pixels", "max_aspect", "margin", "masks", "findings.too_small"}
    notes |= {"segment.mean", "segment.std"}
    assert found == GEOMETRY | notes | faces
    keys = {
        compute_content_key(*given)
        for given in (
            ("0" * 64, ".png", PREPARE),
            ("0" * 64, ".PNG", PREPARE),
            ("1" * 64, ".png", PREPARE),
            ("0" * 64, ".jpg", PREPARE),
            *(("0" * 64, ".png", PREPARE, {**NO_NETWORKS, name: "network"}) for name in NO_NETWORKS),
            ("0" * 64, ".png", PREPARE, NO_NETWORKS, "mask"),
        )
    }
    assert len(keys) == 7  # in whatever case its ending is written


def test_a_datasets_hash():
    row = PreparedRow(**prepared_row("a.png"))
    assert known_to(lambda settings: _facts([row], [], settings, (), Networks()).hash, PREPARE) == GEOMETRY


def test_what_a_captioner_has_written(tmp_path):
    (tmp_path / "picture").write_text("picture")
    source = Source(path=str(tmp_path))
    pictures = {"picture": tmp_path / "picture"}
    found = known_to(lambda given: compute_content_keys(make_captioner(source, given), given, pictures), BlipSettings())
    wordy = {"prompt", "max_new_tokens", "num_beams", "repetition_penalty", "no_repeat_ngram_size"}
    assert found == {"captioner", *wordy, "batch_size"}

    def key():
        return compute_content_keys(make_captioner(source, BlipSettings()), BlipSettings(), pictures)["picture"]

    before = key()
    (tmp_path / "picture").write_text("another picture")
    other_picture = key()
    (tmp_path / "model.safetensors").write_text("weights")
    assert len({before, other_picture, key()}) == 3


def test_encoded_tensors(tmp_path):
    (tmp_path / "picture").write_text("picture")

    def keys(settings):
        return Keys({"base": "b"}, settings, "cpu" if settings.device == "auto" else settings.device)

    both = {"batch_size", "dtype", "device"}
    viewed = ViewedPicture(tmp_path / "picture")
    pictures = known_to(lambda settings: keys(settings).picture(viewed), EncodeSettings())
    captions = known_to(lambda settings: keys(settings).caption("a cat"), EncodeSettings())
    # "auto" is the CPU here: the key is the same for both.
    augment = {f"augment.{name}" for name in AugmentSettings.model_fields}
    assert pictures == {*both, "flip", *augment} - {"device"}
    assert captions == {*both, "clip_skip", "max_tokens"} - {"device"}
    assert keys(EncodeSettings(device="cuda")).caption("a") != keys(EncodeSettings()).caption("a")
    other = Keys({"base": "c"}, EncodeSettings(), "cpu")
    assert other.caption("a") != keys(EncodeSettings()).caption("a") != keys(EncodeSettings()).caption("b")
    assert other.picture(viewed) != keys(EncodeSettings()).picture(viewed)


def test_an_encoded_pictures_files_and_views(tmp_path):
    def key(file, uncropped=None, views=(PLAIN,)):
        for name in {file, uncropped} - {None}:
            (tmp_path / name).write_text(name)
        beside = tmp_path / uncropped if uncropped else None
        return Keys({}, EncodeSettings(), "cpu").picture(ViewedPicture(tmp_path / file, beside, views=views))

    assert key("a") != key("b")
    # The uncropped picture counts where more is seen than the crop.
    wide, tall = View(box=(0, 0, 9, 8)), View(box=(0, 0, 8, 9))
    seen = {
        key("a", uncropped, views)
        for uncropped in ("c", "d")
        for views in ((PLAIN, wide), (PLAIN, tall), (PLAIN, wide, tall))
    }
    assert len(seen) == 6 and key("a") == key("a", "c")


def test_a_drawn_picture():
    def key(settings):
        return plan_shots(settings, "sks", (settings.width or 64, settings.height or 64), "base", "lora").shots[0].key

    settings = EvaluateSettings(prompts=["a cat", "a dog"], seeds=[0], weights=[0, 1], width=32, height=32)
    assert known_to(key, settings) == {"negative_prompt", "steps", "guidance", "batch_size", "width", "height"}

    def keys(base="base", lora="lora", seed=0):
        shots = plan_shots(settings.model_copy(update={"seeds": [seed]}), "sks", (64, 64), base, lora).shots
        found = {(shot.weight, shot.key) for shot in shots}
        assert len({key for _, key in found}) == len(shots)
        return found

    # Another LoRA draws the base's pictures as they are, and no others.
    assert keys() & keys(lora="other") == {(weight, key) for weight, key in keys() if not weight}
    assert not keys() & keys(base="other") and not keys() & keys(seed=1)
