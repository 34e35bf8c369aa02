"""`prepare`: data/raw/<dataset> -> outputs/prepared, decoded pictures in buckets."""

import sys

from lorakiln.console.errors import exit_on_user_error
from lorakiln.prepare import prepare
from lorakiln.schema.prepare import PrepareSettings
from pipelines.resolved import Resolved


def main() -> None:
    resolved = Resolved()
    settings = resolved.check(PrepareSettings, "prepare")
    prepare(resolved["raw"] / settings.dataset, resolved["prepared"], settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
