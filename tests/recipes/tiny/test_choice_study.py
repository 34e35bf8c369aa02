"""The study of how well `choose` decides: what is true, the regret, and files that are spoilt by hand."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorakiln.choose.candidates import Candidate
from lorakiln.facts.choice import Choice, Recommended
from lorakiln.facts.run import SavedAdapter
from recipes.tiny import choice_study
from recipes.tiny.choice_study import PLANTED, STUDY, UNSEEN, compute_regrets, copy_pictures, format_rows, spoil

TRUTH = {
    None: 0.1,
    Candidate(100, 1.0): 0.5,
    Candidate(200, 0.7): 0.9,
    Candidate(200, 1.0): 0.6,
    Candidate(300, 1.0): 0.4,
}


class Facts:
    adapters = [
        SavedAdapter(step=step, file=str(step), validation_loss=loss)
        for step, loss in ((100, 0.1), (200, 0.2), (300, 0.3))
    ]


def test_regret_is_the_share_of_the_way_from_the_base_to_the_best_that_is_missed():
    use = Recommended(step=200, weight=1.0, low=1.0, high=1.0, picture="")
    found = compute_regrets(TRUTH, Choice(recommended=use), Facts)
    assert found["best"] == "90% at step 200, weight 0.7"
    # (0.9 - x) / (0.9 - 0.1) of what each took: 0.6, 0.4, 0.5, and 0.6 in the mean.
    assert found["regret"] == pytest.approx({"rule": 0.375, "last step": 0.625, "lowest loss": 0.5, "random": 0.375})


def test_what_is_not_recommended_and_where_nothing_was_learned_has_no_regret():
    found = compute_regrets(TRUTH, Choice(), Facts)
    assert "rule" not in found["regret"] and found["recommended"] is None
    flat = compute_regrets(dict.fromkeys(TRUTH, 0.1), Choice(), Facts)
    assert flat["regret"] == {}


def test_a_few_pictures_are_taken_evenly_with_their_captions(tmp_path):
    raw = copy_pictures(tmp_path, 4)
    names = sorted(path.stem for path in (raw / choice_study.CHARACTER).glob("*.png"))
    every = sorted(path.stem for path in (choice_study.DATA / choice_study.CHARACTER).glob("*.png"))
    assert names == [every[place * len(every) // 4] for place in range(4)]
    assert {path.stem for path in (raw / choice_study.CHARACTER).glob("*.txt")} == set(names)
    assert copy_pictures(tmp_path, 4) == raw != copy_pictures(tmp_path, None)


def test_spoilt_files_are_the_base_or_fit_another_base(tmp_path):
    file, given = tmp_path / "x.safetensors", {"a": torch.randn(4, 10), "alpha": torch.tensor(4.0)}
    save_file(given, file)
    spoil(file, "another base")
    changed = load_file(file)
    assert torch.equal(changed["a"].sort().values, given["a"].sort().values) and not torch.equal(
        changed["a"], given["a"]
    )
    assert changed["alpha"] == 4
    spoil(file, "base itself")
    assert not load_file(file)["a"].any()


def test_what_was_planted_says_its_states_and_is_not_among_the_unseen():
    assert all(one.right for one in PLANTED.values()) and not any(one.right for one in UNSEEN.values())
    settings = [one.list_overrides() + [f"of {one.pictures} pictures"] for one in STUDY.values()]
    assert all(settings.count(one) == 1 for one in settings)


def test_rows_tell_regrets_of_the_unseen_and_whether_the_planted_are_named_rightly():
    unseen = {
        "best": "90% at step 2, weight 1.0",
        "recommended": None,
        "regret": {"last step": 0.05, "random": 0.5},
        "planted": {"base itself": "No saved step can be recommended."},
    }
    planted = {"states": {"100 at 1.0": "underfitted", "200 at 1.0": "broken"}}
    assert format_rows({"lokr": unseen, "diverged-21": planted, "memorised-21": planted}) == [
        "| lokr | 90% at step 2, weight 1.0 | none |  | 5% |  | 50% |",
        "| lokr, base itself | | No saved step can be recommended. | |",
        "| diverged-21 | broken | broken | right |",
        "| memorised-21 | memorised | broken | wrong |",
    ]
