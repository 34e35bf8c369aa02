"""A tagger of WD's form: a folder, or a repository of the hub, with model.onnx and selected_tags.csv."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lorakiln.captioners.model_files import identify_source, locate
from lorakiln.captioners.tagger.network import INSTALL, SETTING, Network
from lorakiln.captioners.tagger.tag_list import TagList
from lorakiln.console.counts import format_count
from lorakiln.families.model_source import find_model_folder
from lorakiln.libraries import import_onnxruntime
from lorakiln.schema.captioners.tagger import TaggerSettings
from lorakiln.schema.model import Source

NETWORK, TAGS = "model.onnx", "selected_tags.csv"
FILES = [NETWORK, TAGS]


def make_captioner(source: Source, settings: TaggerSettings) -> "Tagger":
    return Tagger(source, settings)


class Tagger:
    """Writes the tags that are sure enough, with ", " between them."""

    def __init__(self, source: Source, settings: TaggerSettings) -> None:
        self.source, self.settings = source, settings

    def identify(self) -> dict[str, Any]:
        """See `captioners.Captioner`.

        Raises:
            UserError: onnxruntime is not installed; a file is there, and no folder.
        """
        library = import_onnxruntime(SETTING, INSTALL)
        return {"onnxruntime": library.__version__, **identify_source(self.source, FILES)}

    def write(self, pictures: Sequence[Path], done: Callable[[int, str], object]) -> Iterator[str]:
        """See `captioners.Captioner`; "" where no tag is sure enough."""
        locate(self.source)
        folder = find_model_folder(self.source.path, self.source.revision, FILES)
        tags = TagList.read(folder / TAGS)
        chooser = tags.choose(self.settings)
        network = Network.load(folder / NETWORK, len(tags.names))
        print(f"caption: {format_count(len(pictures), 'picture')} for the tagger, on {network.device}", flush=True)
        size = network.batch or self.settings.batch_size
        for start in range(0, len(pictures), size):
            batch = list(pictures[start : start + size])
            # Every batch has the same shape: a picture's tags depend on no other picture.
            scores = network.score(batch + batch[-1:] * (size - len(batch)))
            written = [", ".join(chooser.pick(one)) for one in scores[: len(batch)]]
            done(len(batch), written[-1])
            yield from written
