"""The words that OneTrainer trains: beside a LoRA (additional_embeddings), or one alone (the method EMBEDDING)."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported, is_off, read_value

ALONE = "EMBEDDING"  # the method
PLACEHOLDER = "<embedding>"  # the word that it trains where none is named
FILLING = "*"  # what it begins a word as of which nothing is said; and fills up with


def take_words(imported: Imported, options: Mapping[str, Any]) -> None:
    """Take what a config says of words: which, what they begin as, and how fast they learn."""
    alone = str(options.get("training_method")) == ALONE
    if alone:
        unused = [name for name in imported.settings if name.startswith(("train.adapter.", "train.text_encoders."))]
        for name in unused:
            del imported.settings[name]
        imported.settings["train.parts"] = []
    listed = [("embedding", {"placeholder": PLACEHOLDER, **(options.get("embedding") or {})})] if alone else []
    more = options.get("additional_embeddings")
    listed += [("additional_embeddings", one) for one in (more if isinstance(more, list) else ())]
    rate = options.get("embedding_learning_rate")
    own = {"lr": None if is_off(rate) else read_value(rate), "max_norm": None}
    named = [(name, str(one.get("placeholder") or ""), one) for name, one in listed if isinstance(one, Mapping)]
    found = {word: _take_word(imported, name, word, one) for name, word, one in named if word}
    tokens = {word: {**taken, **own} for word, taken in found.items() if taken}
    if not tokens:
        return
    imported.settings["train.tokens"] = tokens
    if is_off(rate):
        imported.decided.append("train.tokens.WORD.lr is a word's own learning rate: vectors want more than a LoRA")
    if options.get("preserve_embedding_norm"):
        why = "train.tokens.WORD.max_norm=1 keeps vectors from growing beyond the mean of the encoder's own"
        imported.leave("preserve_embedding_norm", True, why)


def _take_word(imported: Imported, name: str, word: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """Its settings; none where it is not trained."""
    if not one.get("train", True):
        imported.leave(f"{name}.train", word, "words are trained, or are read as any other text")
        return {}
    if file := one.get("model_name"):
        begun = imported.settings.setdefault("train.adapter.init_from", file)
        if begun != file:
            why = f"all begin with one file, {begun}: a LoRA may bring its words along"
            imported.leave(f"{name}.model_name", file, why)
    if one.get("is_output_embedding"):
        why = "vectors take the place of tokens; what the encoder gives is not trained by itself"
        imported.leave(f"{name}.is_output_embedding", word, why)
    if not is_off(one.get("stop_training_after")) and one.get("stop_training_after_unit") != "NEVER":
        imported.leave(f"{name}.stop_training_after", one["stop_training_after"], "words are trained to the end")
    begun = str(one.get("initial_embedding_text") or FILLING)
    return {"init": None if begun == FILLING else begun, "vectors": read_value(one.get("token_count") or 1)}
