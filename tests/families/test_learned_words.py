"""Words with vectors of their own, against what diffusers' `load_textual_inversion` makes of the same vectors."""

import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.learned_words import WordFinder
from lorakiln.families.prompt_encoding import PromptEncoding, list_tokens
from lorakiln.schema.model import ModelSettings
from tests.families.reduced import write_reduced

PROMPTS = ["a mydog, red", "MyDog mydog", "a cat", "(mydog) by <s1>, blue", "mydogs and a mydog's cat", ""]


@pytest.fixture(scope="module")
def models(tmp_path_factory, micro_model):
    xl = write_reduced(tmp_path_factory.mktemp("words") / "sdxl", "sdxl")
    return {"sd": micro_model, "sdxl": ModelSettings.model_validate({**micro_model.model_dump(), "path": str(xl)})}


def make_words(family, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = {part: getattr(family, part).config.hidden_size for part in family.encoders}
    return {
        word: {part: torch.randn(count, width, generator=generator) for part, width in widths.items()}
        for word, count in {"mydog": 3, "<s1>": 1}.items()
    }


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_prompts_with_words_are_read_as_diffusers_reads_them(models, name):
    model = models[name].model_copy(update={"family": name})
    ours, theirs = load_family(model), load_family(model)
    words = make_words(ours)
    bare = ours.encode_prompts(PROMPTS)
    ours.know_words(words)
    pipe = theirs.pipeline()
    for part, tokenizer in zip(theirs.encoders, ("tokenizer", "tokenizer_2"), strict=False):
        state = {word: vectors[part] for word, vectors in words.items()}
        pipe.load_textual_inversion(
            list(state.values()),
            token=list(state),
            text_encoder=getattr(pipe, part),
            tokenizer=getattr(pipe, tokenizer),
        )
    for prompt in PROMPTS[:4]:
        found = ours.encode_prompts([prompt])
        given = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False, "device": torch.device("cpu")}
        # Theirs finds a word in small letters alone.
        expected = pipe.encode_prompt(prompt.replace("MyDog", "mydog"), **given)
        torch.testing.assert_close(found["prompt_embeds"], expected[0], rtol=1e-5, atol=1e-5)
        if name == "sdxl":
            torch.testing.assert_close(found["pooled_embeds"], expected[2], rtol=1e-5, atol=1e-5)
    # A part of another word is none, as a whole one is, whatever follows it.
    told = [tokens_below_0(ours, prompt) for prompt in PROMPTS]
    assert told == [[-1, -2, -3], [-1, -2, -3] * 2, [], [-1, -2, -3, -4], [-1, -2, -3], []]
    ours.know_words({})
    for key, value in ours.encode_prompts(PROMPTS).items():
        assert torch.equal(value, bare[key])
    kept, fresh = ours.text_encoder.state_dict(), load_family(model).text_encoder.state_dict()
    assert kept.keys() == fresh.keys() and all(torch.equal(kept[key], fresh[key]) for key in kept)


def tokens_below_0(family, prompt):
    return [token for token in list_tokens(family.tokenizer, prompt) if token < 0]


def test_an_encoder_that_finds_a_texts_end_as_its_largest_number_still_does(models):
    """CLIP's configs of its early days, SDXL's second encoder among them, say eos_token_id 2."""
    family = load_family(models["sdxl"].model_copy(update={"family": "sdxl"}), ("text",))
    words = make_words(family)
    family.know_words(words)
    expected = family.encode_prompts(["a mydog"])["pooled_embeds"]
    for encoder in (family.text_encoder, family.text_encoder_2):
        getattr(encoder, "text_model", encoder).eos_token_id = 2
        encoder.config.eos_token_id = 2
    assert torch.equal(family.encode_prompts(["a mydog"])["pooled_embeds"], expected)


def test_words_are_counted_and_cut_off_like_others(micro_model):
    family = load_family(micro_model, ("text",))
    family.know_words(make_words(family))
    assert family.count_tokens("a mydog") == family.count_tokens("a") + 3
    assert family.pieces("a mydog") == ["a", "mydog", "mydog_1", "mydog_2"]
    long = "a " * 29 + "mydog red"
    assert family.unread(long) == "mydog_1 mydog_2 red"
    assert family.unread(long, 2) == ""
    assert family.encode_prompts([long], PromptEncoding(1, 2))["prompt_embeds"].shape[1] == 62
    # Other words in their place: none of the first are left.
    family.know_words({"other": make_words(family)["mydog"]})
    assert tokens_below_0(family, "mydog other") == [-1, -2, -3]


def test_the_longest_word_is_found_first():
    assert WordFinder(["cat", "my cat", "cat2"]).list_words("a my cat, CAT, cat2 cats mycat my cat") == [
        "my cat",
        "cat",
        "cat2",
        "my cat",
    ]
    assert WordFinder([]).list_words("a cat") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"x": {"text_encoder": torch.ones(1, 25)}}, "the embedding of x is 25 wide, and text_encoder reads 24"),
        ({"x": {"text_encoder_2": torch.ones(1, 24)}}, "is for text_encoder_2, and the base model has text_encoder"),
        ({"x": {"text_encoder": torch.ones(31, 24)}}, "has 31 vectors, and 30 are read at most"),
        ({" ": {"text_encoder": torch.ones(1, 24)}}, "an embedding's word is empty"),
        ({word: {"text_encoder": torch.ones(1, 24)} for word in ("Cat", "cat")}, "'Cat' and 'cat' are one word"),
    ],
)
def test_vectors_for_another_base_are_refused_and_change_nothing(micro_model, words, said):
    family = load_family(micro_model, ("text",))
    tokenizer, table = family.tokenizer, family.text_encoder.get_input_embeddings()
    with pytest.raises(UserError, match=said):
        family.know_words(words)
    assert family.tokenizer is tokenizer and family.text_encoder.get_input_embeddings() is table
