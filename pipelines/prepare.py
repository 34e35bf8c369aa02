"""`prepare`: data/raw/<dataset> -> outputs/prepared, decoded pictures in buckets."""

import sys

from lorakiln.console.ending import end_by_signals
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.prepare import PrepareSettings
from pipelines.resolved import Resolved


def main() -> None:
    # Imported late: a signal that comes meanwhile is told in one line.
    from lorakiln.prepare import prepare

    resolved = Resolved()
    settings = resolved.check(PrepareSettings, "prepare")
    prepare(resolved["raw"] / settings.dataset, resolved["prepared"], settings)


if __name__ == "__main__":
    end_by_signals()
    sys.exit(exit_on_user_error(main))
