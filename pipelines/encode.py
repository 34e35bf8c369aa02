"""`encode`: outputs/captioned -> outputs/encoded, latents and text embeddings."""

from lorakiln.console.exit_signals import end_by_signals

if __name__ == "__main__":
    end_by_signals()  # before all that takes time to import

import sys

from lorakiln.chain import ENCODE
from lorakiln.console.errors import exit_on_user_error
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from pipelines.lock import keep_lock
from pipelines.resolved import Resolved


def main() -> None:
    keep_lock()
    resolved = Resolved()
    settings = {"encode": resolved.check(EncodeSettings, "encode"), "model": resolved.check(ModelSettings, "model")}
    ENCODE.update(resolved.folders, settings)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
