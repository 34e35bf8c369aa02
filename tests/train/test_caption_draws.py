"""Captions drawn in training: what comes how often, that it follows from (seed, step), and what it leaves as it was."""

import shutil
from collections import Counter

import pytest
import torch

from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.schema.objectives.mse import MseSettings
from lorakiln.train.caption_draws import CachedTextEmbeddings, DrawnTexts, counts_epochs, find_dropped
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.stage import plan

RULES = {"shuffle": True, "tag_dropout": 0.5}
# Of every caption, with the share of each by hand.
SHARES = {"": 0.25, "sks": 0.25, "a {} cat": 0.25, "sks, a {} cat": 0.125, "a {} cat, sks": 0.125}


@pytest.fixture(scope="module")
def drawn_encoded(tmp_path_factory, micro_encoded, micro_family):
    """The micro dataset with captions that are drawn from what `RULES` make of them."""
    folder = shutil.copytree(micro_encoded, tmp_path_factory.mktemp("drawn") / "encoded")
    index = read_json(folder / "index.json")
    index["settings"]["encode"]["captions"] = RULES
    texts: dict[str, int] = {}
    for bucket in index["buckets"]:
        for row in bucket["rows"]:
            colour = row["text"].split()[2]
            of = {text.format(colour): share for text, share in SHARES.items()}
            row["templates"] = [row["text"]]
            row["shares"] = [(texts.setdefault(text, len(texts)), share) for text, share in of.items()]
    keys = [{"text": text, "key": hash_data(text)} for text in texts]
    index |= {"captions": {"mode": "variants", "file": "captions.safetensors", "texts": keys}, "hash": "drawn"}
    save_tensors(folder / "captions.safetensors", micro_family.encode_prompts(list(texts)))
    write_json(folder / "index.json", index)
    return folder


@pytest.fixture
def draw(drawn_encoded):
    """Texts of a step's part."""
    encoded = EncodedDataset.read(drawn_encoded)
    rows = [list(range(len(bucket.rows))) for bucket in encoded.buckets]
    return lambda seed=0: DrawnTexts(encoded, rows, seed)


def test_every_text_comes_as_often_as_its_share_says(make_module, drawn_encoded, draw):
    module, captions, times = make_module(encoded=drawn_encoded), draw(), 300
    counts = Counter()
    for step in range(times):
        samples = module.schedule(step)
        texts = captions.texts(step, samples, slice(0, 4))
        for row, text in zip(samples.pictures, texts, strict=True):
            own = module.encoded.buckets[samples.bucket].rows[row]
            counts[text.replace(own.text.split()[2], "{}")] += 1
    total = 4 * times
    assert counts.keys() == SHARES.keys()
    for text, share in SHARES.items():
        assert abs(counts[text] - total * share) < 5 * (total * share * (1 - share)) ** 0.5


def test_draws_follow_from_seed_and_step(make_module, drawn_encoded, draw):
    schedule = make_module(encoded=drawn_encoded).schedule
    steps = range(20)
    whole = [draw().texts(step, schedule(step), slice(0, 4)) for step in steps]
    parts = [
        [text for at in range(4) for text in draw().texts(step, schedule(step), slice(at, at + 1))] for step in steps
    ]
    assert parts == whole
    assert [draw(1).texts(step, schedule(step), slice(0, 4)) for step in steps] != whole
    # The same picture gets another text from step to step, and from place to place.
    assert len({tuple(texts) for texts in whole}) > 10


def test_the_network_is_told_the_texts_embeddings(make_module, drawn_encoded, draw, micro_family):
    module = make_module(encoded=drawn_encoded)
    module.conditioning.live, module.captions = CachedTextEmbeddings(module.encoded), draw()
    for step in range(4):
        samples = module.schedule(step)
        module.done = step
        _, told = module._inputs(samples, module.make_draws(step, samples), slice(1, 4))
        expected = micro_family.encode_prompts(draw().texts(step, samples, slice(1, 4)))
        assert told["prompt_embeds"].allclose(expected["prompt_embeds"], atol=1e-6)


def test_a_killed_run_goes_on_bit_for_bit(make_settings, drawn_encoded, micro_model, tmp_path, read_files, capsys):
    from lorakiln.train import train
    from lorakiln.train.callbacks import RunRecorder

    dropout = {"caption_dropout": 0.3, "caption_dropout_every_epochs": 2}
    settings = make_settings(
        checkpoint_every=5, objective=dropout, validation={"every": 6, "draws": 2, "fraction": 0.2}
    )

    def run(name, settings=settings, encoded=drawn_encoded):
        train(encoded, tmp_path / name, settings, micro_model, tmp_path / "cache" / "checkpoints")
        return read_files(tmp_path / name)

    class Killed(BaseException):
        pass

    whole = run("whole")
    record = RunRecorder.on_train_batch_end

    def dying(callback, trainer, module, *batch):
        if module.done == 8:
            raise Killed
        record(callback, trainer, module, *batch)

    shutil.rmtree(tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunRecorder, "on_train_batch_end", dying)
        run("killed")
    assert run("killed") == whole
    told = capsys.readouterr().out
    assert "  captions    5 of each picture are drawn from, 14 texts, embedded ahead: 0.043 MB" in told
    assert "caption_dropout 0.3, caption_dropout_every_epochs 2" in told


def test_the_plan_says_that_what_is_trained_reads_texts_anew(make_settings, drawn_encoded, micro_model, capsys):
    anew = "  captions    5 of each picture are drawn from, 14 texts, read anew in every step, by what is trained\n"
    for changes, told in (
        ({}, "14 texts, embedded ahead: 0.043 MB"),
        ({"parts": ["unet", "text_encoder"]}, anew),
        ({"tokens": {"sks": {"vectors": 1}}}, anew),
    ):
        plan(drawn_encoded, make_settings(**changes), micro_model)
        assert told in capsys.readouterr().out


def test_drawing_leaves_the_rest_as_it_was(make_module, drawn_encoded, micro_encoded, draw):
    plain, drawn = make_module(encoded=micro_encoded), make_module(encoded=drawn_encoded)
    drawn.conditioning.live, drawn.captions = CachedTextEmbeddings(drawn.encoded), draw()
    samples = plain.schedule(3)
    for module in (plain, drawn):
        module.done = 3
    one, other = (module._inputs(samples, module.make_draws(3, samples), slice(0, 4)) for module in (plain, drawn))
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1]["prompt_embeds"], other[1]["prompt_embeds"])


@pytest.mark.parametrize(
    ("every", "epochs"),
    [(0, set()), (1, {0, 1, 2, 3}), (2, {1, 3}), (3, {2}), (9, set())],
)
def test_whole_epochs_without_captions(every, epochs):
    # Batches of 4 pictures of 6: the second epoch begins within the second step.
    found = torch.cat([find_dropped(4 * step, 6, torch.tensor([every] * 4)) for step in range(6)])
    assert found.tolist() == [picture // 6 in epochs for picture in range(24)]


def test_an_epochs_captions_are_dropped_beside_those_by_chance(make_module):
    module = make_module(objective={"caption_dropout_every_epochs": 2})
    # Six pictures, batches of four: those from 6 to 11 are of the second epoch.
    dropped = [module.make_draws(step, module.schedule(step)).dropped.tolist() for step in range(3)]
    assert dropped == [[False] * 4, [False, False, True, True], [True] * 4]
    module.done = 2
    samples = module.schedule(2)
    _, told = module._inputs(samples, module.make_draws(2, samples), slice(0, 4))
    assert torch.equal(told["prompt_embeds"], module.encoded.empty["prompt_embeds"].expand(4, -1, -1))


@pytest.fixture
def ruled(drawn_encoded, tmp_path):
    """The dataset with rules of each picture's own."""

    def make(rules):
        folder = shutil.copytree(drawn_encoded, tmp_path / "ruled")
        index = read_json(folder / "index.json")
        rows = [row for bucket in index["buckets"] for row in bucket["rows"]]
        for number, row in enumerate(rows):
            row["rules"] = rules[number % len(rules)]
        write_json(folder / "index.json", index | {"hash": "ruled"})
        return folder

    return make


def test_pictures_have_no_caption_as_often_as_their_subset_says(make_module, ruled):
    folder = ruled([{"caption_dropout": 1.0}, {"caption_dropout": 0.0}, {}])
    module, plain = (make_module(encoded=folder, objective={"caption_dropout": rate}) for rate in (0.5, 0.0))
    counts, usual = Counter(), Counter()
    for step in range(100):
        samples = module.schedule(step)
        rows = [module.encoded.buckets[samples.bucket].rows[row] for row in samples.pictures]
        dropped = module.make_draws(step, samples).dropped.tolist()
        for row, gone in zip(rows, dropped, strict=True):
            counts[row.rules.caption_dropout, gone] += 1
        usual[sum(plain.make_draws(step, samples).dropped.tolist())] += 1
    assert counts[1.0, False] == counts[0.0, True] == 0 and counts[1.0, True] and counts[0.0, False]
    total = counts[None, True] + counts[None, False]
    assert abs(counts[None, True] - total / 2) < 5 * (total / 4) ** 0.5
    # Where the experiment drops none, the pictures that are always without theirs still have none beside them.
    assert usual[0] < 100
    samples = plain.schedule(0)
    draws = plain.make_draws(0, samples)
    _, told = plain._inputs(samples, draws, slice(0, 4))
    empty = plain.encoded.empty["prompt_embeds"][0]
    gone = [torch.equal(one, empty) for one in told["prompt_embeds"]]
    assert gone == draws.dropped.tolist() and any(draws.dropped)


def test_pictures_are_without_captions_in_the_epochs_that_their_subset_says(make_module, ruled):
    folder = ruled([{"caption_dropout_every_epochs": 1}, {"caption_dropout_every_epochs": 0}, {}])
    module = make_module(encoded=folder, objective={"caption_dropout_every_epochs": 2})
    found = {0: set(), 1: set(), None: set()}
    for step in range(9):
        samples = module.schedule(step)
        rows = [module.encoded.buckets[samples.bucket].rows[row] for row in samples.pictures]
        dropped = module.make_draws(step, samples).dropped.tolist()
        for place, (row, gone) in enumerate(zip(rows, dropped, strict=True)):
            # An epoch has six pictures, a step four.
            found[row.rules.caption_dropout_every_epochs].add(((4 * step + place) // 6 % 2, gone))
    assert found == {0: {(0, False), (1, False)}, 1: {(0, True), (1, True)}, None: {(0, False), (1, True)}}
    # What is said of some pictures alone is done too, and goes by epochs.
    alone = make_module(encoded=folder)
    samples = next(samples for samples in map(alone.schedule, range(9)) if alone.make_draws(0, samples).dropped.any())
    _, told = alone._inputs(samples, draws := alone.make_draws(0, samples), slice(0, 4))
    empty = alone.encoded.empty["prompt_embeds"][0]
    assert [torch.equal(one, empty) for one in told["prompt_embeds"]] == draws.dropped.tolist()
    assert counts_epochs(alone.encoded, MseSettings())


def test_how_long_an_epoch_is_matters_where_captions_go_by_it(drawn_encoded):
    encoded = EncodedDataset.read(drawn_encoded)
    assert not counts_epochs(encoded, MseSettings())
    assert counts_epochs(encoded, MseSettings(caption_dropout_every_epochs=2))


def test_texts_that_are_embedded_as_they_are_drawn_are_by_each_picture_s_rules(make_module, ruled):
    folder = ruled([{"captions": {"shuffle": False, "tag_dropout": 0.0}}, {"captions": {"tag_dropout": 1.0}}])
    index = read_json(folder / "index.json")
    for bucket in index["buckets"]:
        for row in bucket["rows"]:
            del row["shares"]
    write_json(folder / "index.json", index | {"captions": {"mode": "live"}})
    encoded = EncodedDataset.read(folder)
    captions = DrawnTexts(encoded, [list(range(len(bucket.rows))) for bucket in encoded.buckets], 0)
    schedule = make_module(encoded=folder).schedule
    for step in range(20):
        samples = schedule(step)
        for row, text in zip(samples.pictures, captions.texts(step, samples, slice(0, 4)), strict=True):
            own = encoded.buckets[samples.bucket].rows[row]
            assert text == ("" if own.rules.captions["tag_dropout"] else own.text)
