"""Print the plan of a training and end: pictures, buckets, steps, epochs, rate, memory.

    python -m pipelines.plan +experiment=sd15_character_r16 prepare.dataset=my_dog [OVERRIDE ...]

The pictures are prepared, captioned and encoded for it, which the training then finds done (cache/datasets).
"""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import argparse
import sys
from collections.abc import Sequence

from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.plan", description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as `python -m train` takes them")
    config = check_whole(compose_config(parser.parse_args(arguments).overrides))
    # Imported late: a wrong setting is told before torch has loaded.
    from lorakiln.runs import make_dataset
    from lorakiln.train.stage import plan

    plan(make_dataset(config) / "encoded", config.train, config.model)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
