"""Module names between dots and kohya's underscores, without a model at hand.

A canonical name is "<part>.<path>": the network's with diffusers' path, a text encoder's with the level "text_model".
kohya joins a path with "_" behind a prefix that tells the part. The words of a path are known, so the dots can be put
back. What a network's words and prefixes are is its family's (keys.py in its folder); text encoders are CLIP's.
Source: sd-scripts networks/lora.py.
"""

import re
from collections.abc import Mapping

from lorakiln.families.kinds import list_families


class Words:
    """The elements of the paths in a network.

    Args:
        words: separated by spaces; numbers are elements too. Those that hold an underscore themselves are why a list
            is needed.
    """

    def __init__(self, words: str) -> None:
        longest_first = "|".join(sorted(words.split(), key=len, reverse=True))
        self._element = re.compile(f"({longest_first}" + r"|\d+)(?:_|$)")

    def dotted(self, name: str) -> str | None:
        """ "mid_block_attentions_0_proj_in" -> "mid_block.attentions.0.proj_in"; None if a word is unknown."""
        found, at = [], 0
        while at < len(name):
            match = self._element.match(name, at)
            if match is None:
                return None
            found.append(match[1])
            at = match.end()
        return ".".join(found) or None

    def has(self, path: str) -> bool:
        """Whether a path in dots is made of these."""
        return self.dotted(path.replace(".", "_")) == path


TEXT_WORDS = Words(
    "text_model encoder layers self_attn q_proj k_proj v_proj out_proj mlp fc1 fc2 text_projection embeddings "
    "token_embedding position_embedding"
)
_TEXT = re.compile(
    r"text_projection|text_model\.(encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])|embeddings\..+)"
)


def module_of(name: str) -> str | None:
    """The canonical name of a layer in kohya's spelling, of any family; None if no family knows it."""
    return next((module for kind in list_families() if (module := kind.module_of(name))), None)


def known(module: str) -> bool:
    """Whether a canonical name is one of any family's, of whatever size."""
    return any(kind.known(module) for kind in list_families())


def to_canonical_name(module: str) -> str:
    """`module` with the level "text_model" where a text encoder of transformers 5 has it not.

    The projection stands beside that level, also where a file says otherwise: ComfyUI's key for it
    (comfy/lora.py) is lora_te2_text_projection.
    """
    part, _, path = module.partition(".")
    if not part.startswith("text_encoder"):
        return module
    path = path.removeprefix("text_model.")
    return f"{part}.{path}" if path == "text_projection" else f"{part}.text_model.{path}"


def to_text_name(module: str, prefixes: Mapping[str, str]) -> str:
    """kohya's name of a text encoder's module.

    Args:
        prefixes: kohya's, by part.

    Raises:
        ValueError: it is of no such part.
    """
    part = module.partition(".")[0]
    if part not in prefixes:
        raise ValueError(f"no module of {', '.join(prefixes)}: {module}")
    # transformers 5 dropped the level "text_model" from the modules; files keep it.
    return prefixes[part] + to_canonical_name(module).partition(".")[2].replace(".", "_")


def parse_text_name(name: str, prefixes: Mapping[str, str]) -> str | None:
    """The reverse: the canonical module; None if it begins with none of the prefixes.

    Args:
        prefixes: part by kohya's prefix.
    """
    for prefix, part in prefixes.items():
        if name.startswith(prefix) and (path := TEXT_WORDS.dotted(name.removeprefix(prefix))):
            return to_canonical_name(f"{part}.{path}")
    return None


def is_text_path(path: str) -> bool:
    """Whether a path is one of a CLIP text encoder's layers or embeddings."""
    return TEXT_WORDS.has(path) and _TEXT.fullmatch(path) is not None
