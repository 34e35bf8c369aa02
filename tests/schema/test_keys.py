"""Which settings each key knows: those that decide what it is the key of, all of them, and no others."""

from types import SimpleNamespace

import pytest

from lorakiln.caption.text_cache import compute_content_keys
from lorakiln.captioners.blip import make_captioner
from lorakiln.encode.content_keys import Keys
from lorakiln.encode.variants import ViewedPicture
from lorakiln.evaluate.shots import plan_shots
from lorakiln.export.privacy import remove_places, remove_private
from lorakiln.prepare.picture import compute_content_key
from lorakiln.prepare.stage import _facts
from lorakiln.rows import PreparedRow
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import ModelSettings, Source
from lorakiln.schema.prepare import PrepareSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.sweep.base_models import collect_base_models
from lorakiln.sweep.job_sources import identify_sources, list_differences
from lorakiln.tracking.private_settings import remove_words
from lorakiln.train.fingerprint import collect_identity
from lorakiln.train.remeasuring import select_recording
from lorakiln.train.sample_file import SampleRequest
from lorakiln.train.tracking import _marks
from tests.made_facts import BASE, DATASET, prepared_row, run_facts
from tests.schema.changing import known_to

GEOMETRY = {
    "resolution",
    "background",
    "bucket.enable",
    "bucket.min",
    "bucket.max",
    "bucket.step",
    "bucket.no_upscale",
}
PREPARE = PrepareSettings(dataset="mine", resolution=64, bucket={"min": 32, "max": 128, "step": 16})
MODEL = ModelSettings(
    family="sd",
    path="base",
    resolution=64,
    bucket_min=32,
    bucket_max=128,
    bucket_step=16,
    captioner={"path": "blip"},
    clip={"path": "clip"},
)
TRAIN = {
    "steps": 8,
    "batch_size": 4,
    "adapter": {"rank": 4, "alpha": 4.0},
    "objective": {},
    "validation": {},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "scheduler": {"kind": "constant"},
    "tracker": {"kind": "csv"},
    "trainer": {"accelerator": "cpu"},
    "samples": {},
}


def test_a_prepared_pictures_key():
    found = known_to(lambda settings: compute_content_key("0" * 64, ".png", settings), PREPARE)
    # Of a face detector it is the file's content that counts.
    faces = {"face.least_score", "face.closest", "face.widest"}
    notes = {"animated", "min_side", "max_pixels", "max_aspect", "warn_upscale", "margin"}
    assert found == GEOMETRY | notes | faces
    assert compute_content_key("0" * 64, ".png", PREPARE, "detector") != compute_content_key("0" * 64, ".png", PREPARE)


def test_a_datasets_hash():
    row = PreparedRow(**prepared_row("a.png"))
    assert known_to(lambda settings: _facts([row], [], settings).hash, PREPARE) == GEOMETRY


def test_what_a_captioner_has_written(tmp_path):
    (tmp_path / "picture").write_text("picture")
    source = Source(path=str(tmp_path))
    pictures = {"picture": tmp_path / "picture"}
    found = known_to(lambda given: compute_content_keys(make_captioner(source, given), given, pictures), BlipSettings())
    assert found == {"captioner", "prompt", "max_new_tokens", "num_beams", "batch_size"}


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
    assert Keys({"base": "c"}, EncodeSettings(), "cpu").caption("a") != keys(EncodeSettings()).caption("a")


def test_a_drawn_picture():
    def key(settings):
        return plan_shots(settings, "sks", (settings.width or 64, settings.height or 64), "base", "lora").shots[0].key

    settings = EvaluateSettings(prompts=["a cat", "a dog"], seeds=[0], weights=[0, 1], width=32, height=32)
    assert known_to(key, settings) == {"negative_prompt", "steps", "guidance", "batch_size", "width", "height"}


def run_of(settings, **changes):
    """As `assemble` puts it together, so far as its identity asks."""
    known = {"hash": "weights", "family": "sd", "prediction_type": "epsilon"} | changes.pop("base", {})
    family = type("Family", (), {"__module__": "lorakiln.families", "facts": known})()
    split = SimpleNamespace(held_out=changes.pop("held_out", [[1]]))
    encoded = SimpleNamespace(index=SimpleNamespace(hash=changes.pop("data", "pictures")))
    precision = settings.trainer.precision.replace("auto", "fp32")
    return SimpleNamespace(settings=settings, family=family, split=split, encoded=encoded, precision=precision)


@pytest.mark.parametrize("scheduler", ["constant", "linear"])
def test_a_runs_identity(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr("lorakiln.train.fingerprint.hash_lora", lambda path: path.read_text())
    for name in ("a", "ax"):
        (tmp_path / name).write_text(f"weights of {name}")
    adapter = TRAIN["adapter"] | {"init_from": str(tmp_path / "a")}
    settings = TrainSettings(**TRAIN | {"adapter": adapter, "scheduler": {"kind": scheduler}})
    found = known_to(lambda settings: collect_identity(run_of(settings)), settings)
    assert found == {
        "seed",
        "batch_size",
        "max_grad_norm",
        *(f"ema.{name}" for name in ("decay", "start", "warmup")),
        "parts",
        "tokens",
        *(f"text_encoders.{name}" for name in ("rank", "alpha", "dropout", "targets", "lr", "stop", "own")),
        *(
            f"adapter.{name}"
            for name in (
                "kind",
                "rank",
                "alpha",
                "dropout",
                "targets",
                "init_from",
                "init",
                "max_norm",
                "module_dropout",
                "rank_dropout",
                "rank_pattern",
                "alpha_pattern",
                "rate_ratio",
            )
        ),
        *(
            f"objective.{name}"
            for name in (
                "kind",
                *("huber_delta", "huber_schedule", "huber_scale"),
                *("min_snr_gamma", "debiased_estimation", "p2_gamma", "p2_k"),
                *("v_pred_like_loss", "scale_v_pred_loss_like_noise_pred"),
                *("noise_offset", "noise_offset_random", "multires_noise_iterations", "multires_noise_discount"),
                *("ip_noise_gamma", "ip_noise_gamma_random", "zero_terminal_snr"),
                *("caption_dropout", "caption_dropout_every_epochs"),
                *("min_timestep", "max_timestep", "timestep_density", "logit_mean", "logit_std"),
                *("unmasked_weight", "normalize_masked_area", "prior_loss_weight"),
            )
        ),
        *(f"optimizer.{name}" for name in ("kind", "lr", "part_lrs", "betas", "eps", "weight_decay")),
        *(f"scheduler.{name}" for name in ("kind", "warmup_steps", "warmup_fraction", "min_lr_ratio")),
        *(f"scheduler.{name}" for name in ("cycles", "cycle_decay", "power")),
        "trainer.quantize",
        *({"steps"} if scheduler == "linear" else ()),
    }


def test_a_runs_identity_knows_by_what_they_come_to(tmp_path, monkeypatch):
    monkeypatch.setattr("lorakiln.train.fingerprint.hash_lora", lambda path: path.read_text())
    settings = TrainSettings(**TRAIN)
    before = collect_identity(run_of(settings))
    for change in (
        {"held_out": [[2]]},
        {"data": "others"},
        {"base": {"hash": "h"}},
        {"base": {"family": "sdxl"}},
        {"base": {"prediction_type": "v_prediction"}},
    ):
        assert collect_identity(run_of(settings, **change)) != before, change
    other = run_of(settings)
    other.precision = "bf16"
    assert collect_identity(other) != before
    # Of kinds the code of those in use counts.
    lion = TrainSettings(**TRAIN | {"optimizer": {"kind": "lion", "lr": 1e-3}})
    assert collect_identity(run_of(lion))["code"] != before["code"]
    # A file that was moved is the same file.
    for name in ("a", "b"):
        (tmp_path / name).write_text("the same weights")
    begun = [
        TrainSettings(**TRAIN | {"adapter": TRAIN["adapter"] | {"init_from": str(tmp_path / name)}}) for name in "ab"
    ]
    assert collect_identity(run_of(begun[0])) == collect_identity(run_of(begun[1])) != before


def test_what_a_run_records(monkeypatch):
    named = [SampleRequest(prompt="a cat")]
    monkeypatch.setattr("lorakiln.train.remeasuring.read_sample_file", lambda path: named)
    found = known_to(lambda settings: select_recording(settings, MODEL), TrainSettings(**TRAIN))
    assert found == {
        "validation.draws",
        *(f"samples.{name}" for name in ("prompts", "file", "seeds", "steps", "guidance")),
    }
    kept = known_to(lambda settings: _marks(settings, MODEL, None), TrainSettings(**TRAIN))
    assert kept == {f"tracker.{name}" for name in ("kind", "project", "entity")} | found
    # A sample of which nobody says how large it is has the base's size.
    assert known_to(lambda model: select_recording(TrainSettings(**TRAIN), model), MODEL) == {"resolution"}


def test_words_stay_at_home():
    told = {
        "caption": {"trigger": "sks", "prompt": "a", "num_beams": 1, "captioner": "blip"},
        "train": {"samples": {"prompts": ["sks"], "every": 3}, "seed": 1},
        "evaluate": {
            "prompts": ["a"],
            "negative_prompt": "b",
            "steps": 3,
            "classify": [{"name": "n", "labels": ["c"]}],
        },
        "dataset": {"name": "mine", "trigger": "sks"},
        "more": [{"prompt": "a", "seed": 0}],
    }
    assert remove_words(told) == {
        "caption": {"num_beams": 1, "captioner": "blip"},
        "train": {"samples": {"every": 3}, "seed": 1},
        "evaluate": {"steps": 3},
        "dataset": {"name": "mine"},
        "more": [{"seed": 0}],
    }


@pytest.fixture
def facts():
    return run_facts(
        base={**BASE, "path": "/home/me/sd"},
        dataset={**DATASET, "name": "secret", "trigger": "sks"},
        init_from={"file": "mine.safetensors", "hash": "h"},
        settings={
            "prepare": {"dataset": "secret", "resolution": 64},
            "caption": {"trigger": "sks", "prompt": "my cat", "captioner": "blip"},
            "model": {
                "path": "/home/me/sd",
                "revision": "main",
                "vae": "~/me/vae.safetensors",
                "config": "owner/sd",
                "captioner": {"path": "me/sub/blip", "revision": None},
                "clip": {"path": "owner/clip"},
            },
            "train": {
                "seed": 1,
                "samples": {"prompts": ["sks"], "every": 3},
                "tracker": {"kind": "csv", "entity": "me"},
                "adapter": {"init_from": "/home/me/mine.safetensors", "rank": 4},
                "tokens": {"sks": {"init": "my cat", "vectors": 2}, "init": {"init": None, "vectors": 1}},
            },
        },
    )


def test_a_private_export_keeps_no_name_no_words_and_no_place(facts):
    settings = remove_private(facts, "lora").settings
    assert settings == {
        "prepare": {"resolution": 64},
        "caption": {"trigger": "sks", "prompt": "", "captioner": "blip"},
        "model": {
            "path": "sd",
            "revision": "main",
            "vae": "vae.safetensors",
            "config": "owner/sd",
            "captioner": {"path": "blip", "revision": None},
            "clip": {"path": "owner/clip"},
        },
        "train": {
            "seed": 1,
            "samples": {"prompts": [], "every": 3},
            "adapter": {"init_from": None, "rank": 4},
            # Whoever draws needs the words; what they began as nobody does.
            "tokens": {"sks": {"init": None, "vectors": 2}, "init": {"init": None, "vectors": 1}},
        },
    }
    told = remove_private(facts, "lora")
    assert (told.base.path, told.dataset.name, told.init_from) == ("sd", "lora", None)
    assert (facts.dataset.name, facts.settings["prepare"]["dataset"]) == ("secret", "secret")  # a copy was changed


def test_an_exported_file_tells_no_place_of_this_machine(facts):
    told = remove_places(facts)
    assert told.base.path == told.settings["model"]["path"] == "sd"
    model, adapter = told.settings["model"], told.settings["train"]["adapter"]
    assert (model["vae"], model["config"], model["captioner"]["path"]) == ("vae.safetensors", "owner/sd", "me/sub/blip")
    assert adapter == {"init_from": "mine.safetensors", "rank": 4}
    assert told.settings["train"]["tracker"] == {"kind": "csv", "entity": "me"}


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("model.path", "base model"),
        ("model.vae", "VAE"),
        ("model.config", "model config"),
        ("model.captioner.path", "captioner"),
        ("model.clip.path", "CLIP"),
        ("train.adapter.init_from", "LoRA to begin with"),
        ("train.samples.file", "file of sample prompts"),
    ],
)
def test_a_sweep_sees_every_model_that_changes_under_its_name(tmp_path, path, title):
    file = tmp_path / "named.safetensors"
    file.write_text("weights")
    *sections, last = path.split(".")
    settings = {last: str(file)}
    for section in reversed(sections):
        settings = {section: settings}
    before = identify_sources(settings)
    assert before.keys() == {"program", title} and before[title]
    file.write_text("other weights")
    assert list_differences(before, identify_sources(settings)) == [title]


def test_a_sweep_sees_the_config_beside_a_peft_file(tmp_path):
    for name in ("named.safetensors", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
    settings = {"train": {"adapter": {"init_from": str(tmp_path / "named.safetensors")}}}
    before = identify_sources(settings)
    (tmp_path / "adapter_config.json").write_text('{"a": 1}')
    assert list_differences(before, identify_sources(settings)) == ["config of the LoRA to begin with"]


def test_a_hub_models_revision_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--owner--clip" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("1" * 40)
    (refs / "v2").write_text("2" * 40)
    told = [
        identify_sources({"model": {"clip": {"path": "owner/clip", "revision": revision}}})["CLIP"]
        for revision in (None, "v2")
    ]
    assert told == ["1" * 16, "2" * 16]


def test_jobs_on_another_vae_have_another_base():
    jobs = [{"model": {"path": "sd", "vae": vae}} for vae in (None, "a", None)]
    results = [
        SimpleNamespace(
            outcome=SimpleNamespace(job=SimpleNamespace(settings=job, number=number)), base={"likeness": 0.5}
        )
        for number, job in enumerate(jobs)
    ]
    assert [(base.title, base.places) for base in collect_base_models(results)] == [
        ("base model of 0, 2", [0, 2]),
        ("base model of 1", [1]),
    ]
