"""Which saved adapters are exported."""

import pytest

from lorakiln.console.errors import UserError
from lorakiln.export.checkpoint_choice import choose_adapters, choose_which, find_best_step
from lorakiln.facts.run import SavedAdapter
from lorakiln.schema.train import EarlyStoppingSettings, TrainSettings


def saved(**losses):
    return [SavedAdapter(step=int(name[1:]), file=name, validation_loss=loss) for name, loss in losses.items()]


@pytest.mark.parametrize(
    ("adapters", "step"),
    [
        (saved(s5=0.3, s10=0.1, s15=0.2), 10),
        # It has as good a loss with less training.
        (saved(s5=0.3, s10=0.1, s15=0.1), 10),
        (saved(s10=0.1, s5=0.1), 5),
        (saved(s5=None, s10=0.4), 10),
        (saved(s5=None), None),
    ],
)
def test_the_best_is_the_earlier_of_equal_losses(adapters, step):
    assert find_best_step(adapters) == step
    if step is None:
        with pytest.raises(UserError, match="no saved adapter has a validation loss"):
            choose_adapters(adapters, "best")
    else:
        best, others = choose_adapters(adapters, "best")
        lowest = min(one.validation_loss for one in adapters if one.validation_loss is not None)
        assert (best.step, best.validation_loss, others) == (step, lowest, [])


def test_the_last_and_all():
    adapters = saved(s5=0.1, s15=0.3, s10=0.2)
    assert choose_adapters(adapters, "last") == (adapters[1], [])
    assert choose_adapters(adapters, "all") == (adapters[1], [adapters[0], adapters[2]])


def test_a_step_that_was_saved():
    adapters = saved(s5=0.1, s15=0.3, s10=0.2)
    assert choose_adapters(adapters, 10, recommended=5) == (adapters[2], [])
    with pytest.raises(UserError, match="step 7 was not saved") as told:
        choose_adapters(adapters, 7)
    assert "5, 10, 15" in told.value.fix


@pytest.mark.parametrize(
    ("wanted", "patience", "which"),
    [(10, 3, 10), ("auto", None, "recommended"), ("auto", 3, "best"), ("last", 3, "last"), ("all", None, "all")],
)
def test_a_training_that_ends_early_gives_its_best(wanted, patience, which):
    train = TrainSettings.model_construct(early_stopping=EarlyStoppingSettings(patience=patience))
    assert choose_which(wanted, train) == which
