"""Scripts that train a word and nothing else: sd-scripts' train_textual_inversion, diffusers' textual_inversion."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported, is_off, read_value

SCRIPTS = "textual_inversion"  # in the names of all of them
NAMES = {
    "word": ("token_string", "placeholder_token"),
    "init": ("init_word", "initializer_token"),
    "vectors": ("num_vectors_per_token", "num_vectors"),
    "file": ("weights",),
    "object": ("use_object_template",),
    "style": ("use_style_template",),
    "property": ("learnable_property",),
}
# Of an adapter and of text encoders, which these scripts have not.
NOT_TRAINED = ("train.adapter", "train.text_encoders", "train.parts")
SENTENCES = {"object": "a photo of {}", "style": "a picture in the style of {}"}


def pop_words(given: dict[str, Any]) -> dict[str, Any]:
    """Take out of the options those of the word, under one name each."""
    found = {name: [given.pop(theirs) for theirs in one if theirs in given] for name, one in NAMES.items()}
    return {name: values[-1] for name, values in found.items() if values and not is_off(values[-1])}


def take_words_alone(imported: Imported, found: Mapping[str, Any]) -> None:
    """Have the word trained, and nothing else.

    Args:
        found: what `pop_words` has found.
    """
    for name in [name for name in imported.settings if name.startswith(NOT_TRAINED)]:
        del imported.settings[name]
    imported.choices.pop("train/adapter", None)
    imported.decided = [text for text in imported.decided if not text.startswith(NOT_TRAINED)]
    imported.settings["train.parts"] = []
    word = str(found.get("word") or "")
    if not word:
        imported.leave("train.tokens", word, "no word is named: train.tokens={mydog: {init: dog}}")
        return
    vectors = read_value(found.get("vectors", 1))
    imported.settings["train.tokens"] = {word: {"init": found.get("init"), "vectors": vectors}}
    imported.settings["caption.trigger"] = word
    imported.decided.append(f"caption.trigger is {word}: a word is learned where captions hold it")
    if file := found.get("file"):
        imported.settings["train.adapter.init_from"] = str(file)
    of = str(found.get("property", ""))
    kind = next((kind for kind in SENTENCES if found.get(kind) or of == kind), None)
    if kind is not None:
        sentence = imported.settings["caption.class_tokens"] = SENTENCES[kind].format(word)
        imported.decided.append(
            f"caption.class_tokens is {sentence!r}, of pictures without a caption: there one of many such sentences is "
            "drawn for every picture, whatever its caption (encode.captions.wildcards draws: {a|one} photo)"
        )
