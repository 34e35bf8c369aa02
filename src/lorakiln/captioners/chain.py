"""Several captioners in a row, each asked on its own."""

from lorakiln.captioners import Chain, open_captioner
from lorakiln.schema.captioners.chain import ChainSettings
from lorakiln.schema.model import Source


def make_captioner(source: Source, settings: ChainSettings) -> Chain:
    """The links in their order; `source` is the model of those that name none of their own."""
    opened = [link for one in settings.links.values() if (chain := open_captioner(one, source)) for link in chain.links]
    return Chain(tuple(opened), settings.separator)
