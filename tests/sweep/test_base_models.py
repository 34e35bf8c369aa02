"""Which jobs of a sweep have the same base model."""

from types import SimpleNamespace

from lorakiln.sweep.base_models import collect_base_models


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
