"""`prepare`: data/raw/<dataset> -> outputs/prepared, decoded pictures in buckets."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.prepare import PrepareSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    from lorakiln.prepare import prepare

    keep_lock()
    resolved = Resolved()
    settings = resolved.check(PrepareSettings, "prepare")
    prepare(resolved["raw"] / settings.dataset, resolved["prepared"], settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
