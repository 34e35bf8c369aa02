"""What trainings are made with: as in `tests/train`."""

from tests.train.conftest import make_module, make_settings, train_micro

__all__ = ["make_module", "make_settings", "train_micro"]
