"""Which settings a run's identity knows, and what else; which settings decide what is only recorded."""

from types import SimpleNamespace

import pytest

from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.fingerprint import collect_identity
from lorakiln.train.remeasuring import select_recording
from lorakiln.train.sample_file import SampleRequest
from lorakiln.train.tracking import _marks
from tests.schema.changing import known_to

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


def run_of(settings, **changes):
    """As `assemble` puts it together, so far as its identity asks."""
    known = {"hash": "weights", "family": "sd", "prediction_type": "epsilon"} | changes.pop("base", {})
    family = type("Family", (), {"__module__": "lorakiln.families", "facts": known})()
    split = SimpleNamespace(held_out=changes.pop("held_out", [[1]]))
    encoded = SimpleNamespace(index=SimpleNamespace(hash=changes.pop("data", "pictures")), buckets=[])
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


@pytest.mark.parametrize(("objective", "counts"), [({}, False), ({"caption_dropout_every_epochs": 2}, True)])
def test_how_long_an_epoch_is_counts_where_something_goes_by_epochs(objective, counts):
    once, twice = (TrainSettings(**TRAIN | {"objective": objective, "repeats": count}) for count in (1, 2))
    assert (collect_identity(run_of(once)) != collect_identity(run_of(twice))) == counts


def test_when_text_encoders_stop_counts_in_steps():
    def identify(steps, stop):
        text = {"parts": ["text_encoder"], "text_encoders": {"stop": stop}}
        return collect_identity(run_of(TrainSettings(**TRAIN | text | {"steps": steps})))

    assert identify(8, 0.25) != identify(8, 0.5) == identify(16, 0.25) == identify(8, 4)


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
