"""What is going to happen, told before it does."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from statistics import fmean

from lorakiln.captions import count_texts
from lorakiln.console.counts import format_count
from lorakiln.console.sparkline import format_sparkline
from lorakiln.families.trigger_words import PIECES, format_pieces
from lorakiln.lora_files.training_facts import format_rates
from lorakiln.optim.schedules import trace_factors
from lorakiln.optim.state import count_state_bytes
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.subset_rules import adapt_rules
from lorakiln.schema.train import TrainSettings
from lorakiln.train.assembly import TrainingRun
from lorakiln.train.caption_draws import counts_epochs
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.learned_tokens import count_captions
from lorakiln.train.length import count_due, count_epoch, format_interval
from lorakiln.train.memory_fit import format_gb
from lorakiln.train.sample_pictures import describe_samples
from lorakiln.train.validation_split import ValidationSplit

CURVE = 40  # characters
COUNTED = 100  # texts of a picture: of what has more only this is said


def format_plan(run: TrainingRun) -> str:
    """The plan as lines of text."""
    encoded, split, settings = run.encoded, run.split, run.settings
    batch, length = settings.batch_size, describe_length([bucket.name for bucket in encoded.buckets], split, settings)
    world = settings.trainer.devices * settings.trainer.num_nodes
    share = batch // world
    micro = settings.micro_batch or share
    adapter = settings.adapter
    lines = [
        f"pictures    {length['pictures']}",
        *_describe_subsets(run),
        f"buckets     {length['buckets']}",
        f"variants    {describe_variants(encoded)}",
        *_describe_masks(run),
        *_describe_captions(run),
        f"batch       {batch} = {world} device{'s' * (world > 1)} x {share // micro} micro-batch"
        f"{'es' * (share // micro > 1)} of {micro}, on {run.device} in {run.precision}"
        f"{', linear layers in ' + settings.trainer.quantize if settings.trainer.quantize != 'none' else ''}",
        *describe_own_batches(run.split),
        f"steps       {length['steps']}",
        *_note_unused_repeats(run),
        f"saved       {length['saved']}",
        f"memory      {run.memory_fit.describe() if run.memory_fit else _describe_uncounted_memory(run)}",
        f"adapter     {_describe_adapter(run)}, {run.module.flat.count:,} parameters",
        *_describe_encoders(run),
        *_describe_tokens(run),
        f"rate        {length['rate']}",
        f"            {format_sparkline(trace_factors(settings.scheduler, settings.total_steps, CURVE))}",
        f"objective   {_describe_objective(settings.objective)}",
        f"samples     {describe_samples(encoded, settings.samples, split.trained)}",
    ]
    lines += [f"{name:<11} {describe}" for name, describe in run.family.process.describe(settings.objective).items()]
    if (ema := settings.ema).decay is not None:
        begins = f" from step {ema.start} on" if ema.start else ""
        lines.append(f"average     of the weights, decay {ema.decay:g}{begins}: it is validated and drawn")
    if adapter.init_from:
        words = f", with its vectors of {', '.join(run.begun)}" if run.begun else ""
        lines.append(f"begins with {adapter.init_from}{words}")
    return "training plan\n" + "\n".join("  " + line for line in lines)


def describe_length(buckets: Sequence[str], split: ValidationSplit, settings: TrainSettings) -> dict[str, str]:
    """What follows from the pictures and the settings alone, before anything is encoded: the plan's lines "pictures",
    "buckets", "steps", "saved" and "rate".

    Args:
        buckets: their names, in the split's order.
        settings: their length counted in steps.
    """
    steps = settings.total_steps
    exact = count_epoch(settings, split)
    epoch = float(exact)
    held_out = f"{split.held_out_count} held out for validation"
    if split.held_out_count:
        held_out += " (train.validation.every=0 trains on all)"
    of_folders = split.trained_count != split.picture_count
    repeats = f"{settings.repeats} x their folders' repeats" if of_folders else f"{settings.repeats} repeats"
    sizes = [f"{name}: {len(rows)}" for name, rows in zip(buckets, split.trained, strict=True) if rows]
    return {
        "pictures": f"{split.picture_count} x {repeats}, {held_out}",
        "buckets": ", ".join(sizes),
        "steps": f"{steps:,} = {steps / epoch:.4g} epochs of {epoch:.4g} steps; "
        f"each picture is seen {float(steps / split.count_batches(settings.batch_size)):.4g} times"
        + (", times its folder's repeats" if of_folders else ""),
        "saved": _describe_saving(settings, exact),
        "rate": f"{format_rates(settings.optimizer, settings.adapter)}, {settings.scheduler.kind}, "
        f"{settings.scheduler.count_warmup(steps)} warm-up steps",
    }


def _describe_adapter(run: TrainingRun) -> str:
    """The kind; and of the network that draws, if it is trained, its rank."""
    adapter = run.settings.adapter
    if not run.placements:
        return "none, words alone"
    if not run.targets:
        return f"{adapter.kind}, none on {run.family.part}, which stays as it is"
    return f"{adapter.kind}, rank {adapter.rank}, alpha {adapter.alpha:g}, {format_count(len(run.targets), 'module')}"


def _describe_encoders(run: TrainingRun) -> list[str]:
    """A line for each text encoder that is trained."""
    encoders, total = run.module.encoders, run.settings.total_steps
    lines = []
    for part in encoders.parts:
        placement, rate = run.placements[part], run.module.groups.peaks.get(part, 0.0)
        own = placement.settings
        until = f", to step {encoders.stop:,} of {total:,}" if encoders.stop < total else ""
        lines.append(
            f"            {part}: rank {own.rank}, alpha {own.alpha:g}, "
            f"{format_count(len(placement.modules), 'module')}, "
            f"rate {rate:g}{until}"
        )
    return lines


def _describe_tokens(run: TrainingRun) -> list[str]:
    """The new words, with how many captions hold each."""
    captions, tokens = count_captions(run.settings.tokens, run.encoded, run.split), run.module.tokens.counts
    words = [
        f"{word} ({format_count(count, 'vector')}, in {format_count(captions[word], 'caption')})"
        for word, count in tokens.items()
    ]
    return [f"tokens      {', '.join(words)}"] if words else []


def list_warnings(settings: TrainSettings) -> list[str]:
    """What may be set by mistake about how weights move, a sentence each, with what is usual."""
    optimizer, scheduler, found = settings.optimizer, settings.scheduler, []
    if optimizer.finds_rate and optimizer.lr != 1:
        found.append(
            f"train.optimizer.lr is {optimizer.lr:g}, and {optimizer.kind} finds its rate itself: lr is a factor on "
            "it, usually train.optimizer.lr=1"
        )
    if optimizer.kind == "schedule_free" and trace_factors(scheduler, settings.total_steps, CURVE)[-1] < 1:
        found.append(
            f"schedule_free takes the mean of its weights in place of a falling rate, and {scheduler.kind} makes it "
            "fall: usually train/scheduler=constant with a warm-up"
        )
    return found


def warn_of_pieces(trigger_pieces: Mapping[str, Sequence[str]], words: Iterable[str]) -> list[str]:
    """A sentence about trigger words that the base reads in several pieces, if there are any.

    Args:
        words: that have vectors of their own, and so are read whole; text encoders read no capitals.
    """
    whole = {word.lower() for word in words}
    if broken := {word: pieces for word, pieces in trigger_pieces.items() if word.lower() not in whole}:
        return [
            f"trigger words that the model reads in {PIECES} pieces or more: {format_pieces(broken)} (a shorter word "
            "is learned faster; train.tokens makes a word one of its own)"
        ]
    return []


def describe_variants(encoded: EncodedDataset) -> str:
    """The names of a picture's variants; of drawn ones their number, what is drawn and what they cost."""
    names, settings = encoded.index.variants, encoded.index.made_with("encode", EncodeSettings)
    if "augment1" not in names:
        return ", ".join(names)
    changes = settings.augment.list_changes().items()
    drawn = ", ".join(f"{name} {value if isinstance(value, str) else format(value, 'g')}" for name, value in changes)
    drawn = drawn or "what their folders say"
    latents = sum(bucket.mean.nbytes + bucket.std.nbytes for bucket in encoded.buckets) / 1e6
    shown = ", ".join(names) if len(names) < 4 else f"{names[0]}, {names[1]} to {names[-1]}"
    return f"{len(names)} of each picture, in turn: {shown}, drawn with {drawn}; their latents take {latents:.3g} MB"


def _describe_objective(objective: ObjectiveSettings) -> str:
    """The loss, and all that is not as it is by default: "huber, min_snr_gamma 5"."""
    changes = [
        name if value is True else f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in objective.list_changes().items()
    ]
    return ", ".join([objective.kind, *changes])


def _describe_subsets(run: TrainingRun) -> list[str]:
    """What an epoch shows where the dataset's own folders say how often."""
    split, buckets = run.split, run.encoded.buckets
    if split.trained_count == split.picture_count:
        return []
    for_reg = sum(buckets[bucket].rows[row].is_reg for bucket, rows in enumerate(split.trained) for row in rows)
    regularisation = f", {for_reg:,} of them for regularisation" if for_reg else ""
    return [f"            by their folders' repeats an epoch shows {split.trained_count:,}{regularisation}"]


def _describe_masks(run: TrainingRun) -> list[str]:
    """How many of the pictures that are trained on have a mask, what it leaves, and what the rest weighs."""
    buckets = zip(run.encoded.buckets, run.split.trained, strict=True)
    rows = {id(row): row for bucket, kept in buckets for row in (bucket.rows[number] for number in kept)}
    shares = [row.mask_share for row in rows.values() if row.mask_share is not None]
    if not shares:
        return []
    objective = run.settings.objective
    outside = f"outside weighs {objective.unmasked_weight:g}"
    if objective.unmasked_weight == 1:
        outside += ": they are not looked at (train.objective.unmasked_weight)"
    elif objective.normalize_masked_area:
        outside += ", and a small mask counts as much as a whole picture"
    return [f"masks       {len(shares)} of {len(rows)} pictures, {fmean(shares):.0%} of them is learned; {outside}"]


def describe_own_batches(split: ValidationSplit) -> list[str]:
    """The plan's line about datasets that have batches of their own; none where none has."""
    counts = Counter(one for bucket in split.own_batches for one in bucket if one is not None)
    listed = ", ".join(f"{count:,} in batches of {batch}" for batch, count in sorted(counts.items()))
    return [f"            by their datasets, of an epoch's pictures: {listed}"] if listed else []


def _note_unused_repeats(run: TrainingRun) -> list[str]:
    """What of the settings does nothing here."""
    settings = run.asked
    watched = (settings.save_every, settings.validation.every, settings.samples.every)
    in_epochs = settings.epochs is not None or any(isinstance(every, str) for every in watched)
    if settings.repeats == 1 or in_epochs or counts_epochs(run.encoded, settings.objective):
        return []
    note = f"repeats of {settings.repeats} change nothing: nothing here is counted in epochs (train.epochs)"
    return [f"note        {note}"]


def _describe_captions(run: TrainingRun) -> list[str]:
    """How captions are drawn, how many texts there are, and what they cost; no line where each picture has one."""
    encoded, drawn = run.encoded, run.encoded.index.captions
    if drawn is None:
        return []
    rules = encoded.index.made_with("encode", EncodeSettings).captions
    rows = [bucket.rows[row] for bucket, kept in zip(encoded.buckets, run.split.trained, strict=True) for row in kept]
    if drawn.mode == "variants":
        counts = [len(row.shares) for row in rows]
        size = sum(tensor.nbytes for tensor in encoded.drawn.values()) / 1e6
        live = run.module.live
        # What trains encoders, or words, leaves aside what `encode` embedded.
        anew = live is not None and live.trained
        how = f"{format_count(len(drawn.texts), 'text', ',')}, " + (
            "read anew in every step, by what is trained" if anew else f"embedded ahead: {size:,.3g} MB"
        )
        least, most = f"{min(counts):,}", f"{max(counts):,}"
    else:
        drawn_from = {(*row.templates, str(row.rules.captions)): row for row in rows}
        known = {
            of: count_texts(row.templates, adapt_rules(rules, row.rules.captions), COUNTED)
            for of, row in drawn_from.items()
        }
        counted = [count for count in known.values() if count is not None]
        how = f"embedded as they are drawn: {run.settings.batch_size} a step by the text encoders, which stay loaded"
        more = f"more than {COUNTED:,}"
        least = f"{min(counted):,}" if counted else more
        most = f"{max(counted):,}" if len(counted) == len(known) else more
    return [f"captions    {least if least == most else f'{least} to {most}'} of each picture are drawn from, {how}"]


def _describe_saving(settings: TrainSettings, epoch: Fraction) -> str:
    count = count_due(settings.total_steps - 1, settings.save_every, epoch)
    every = format_interval(settings.save_every)
    parts = [f"{count + 1} adapters, every {every} and at the end" if count else "the last adapter"]
    if settings.keep_last is not None:
        best = " and the best" if settings.validation.every and not settings.keeps_best else ""
        parts.append(f"of which the last {settings.keep_last}{best} are kept")
    if settings.keeps_best:
        parts.append("and that of the lowest validation loss")
    stopping = settings.early_stopping
    if stopping.patience is not None:
        parts.append(f"ends early after {format_count(stopping.patience, 'validation')} in a row without a gain")
    return ", ".join(parts)


def _describe_uncounted_memory(run: TrainingRun) -> str:
    """The memory of a training that is not counted any further."""
    networks = dict.fromkeys([run.family.network, *run.module.adapted])
    base = sum(
        weight.nbytes
        for network in networks
        for weight in (*network.parameters(), *network.buffers())
        if not weight.requires_grad
    )
    # Its weights, their gradients, their moving average and the optimizer's state.
    vectors = 3 if run.module.average else 2
    state = count_state_bytes(run.module.build_optimizer, run.module.optimizer)
    adapter = vectors * run.module.flat.weights.nbytes + state
    return f"base {format_gb(base)} GB, adapter and optimizer {format_gb(adapter)} GB"
