"""What settings of an import mean together: what is left of those that would be refused beside others."""

import math
from collections.abc import Callable
from typing import Any

from lorakiln.schema.optimizers import OPTIMIZERS, AdaptiveSettings
from lorakiln.tools.other_configs.imported import Imported

# Adapters that have no place for a dropout of what goes in, and those of them whose change has no scale.
WHOLE_WEIGHTS, TURNED = ("dora", "loha", "lokr", "oft", "boft", "ia3"), ("oft", "boft")
ENCODERS, WARMUP = "train.text_encoders.", "train.scheduler.warmup_steps"


def settle_together(imported: Imported) -> None:
    """Settle what is about adapters, rates and encoders, once all of a config is read."""
    _leave_what_adapters_have_not(imported)
    _settle_relative_step(imported)
    _leave_what_is_not_trained(imported)
    _leave_own_rates(imported)
    _settle_warmup(imported)


def _leave_what_adapters_have_not(imported: Imported) -> None:
    """What every kind of adapter has as a setting, so that kinds can be swapped, and some refuse."""
    settings, kind = imported.settings, imported.choices.get("train/adapter", "lora")
    if kind in WHOLE_WEIGHTS and (dropout := settings.pop("train.adapter.dropout", 0)):
        why = f"{kind} makes a weight, and has no dropout of what goes in; train.adapter.module_dropout is one"
        imported.leave("train.adapter.dropout", dropout, why)
    alpha = settings.get("train.adapter.alpha")
    if kind in TURNED and alpha not in (None, settings.get("train.adapter.rank")):
        imported.leave("train.adapter.alpha", settings.pop("train.adapter.alpha"), f"{kind} turns, and has no scale")


def _settle_relative_step(imported: Imported) -> None:
    """transformers' Adafactor with it takes neither a rate nor a schedule."""
    settings = imported.settings
    if imported.choices.get("train/optimizer") != "adafactor" or not settings.get("train.optimizer.relative_step"):
        return
    imported.choices.pop("train/scheduler", None)
    for setting in [one for one in settings if one.startswith("train.scheduler.")]:
        del settings[setting]
    settings["train.optimizer.lr"] = 1.0
    imported.decided.append(
        "train.optimizer.relative_step is true and its lr 1, the schedule constant: there Adafactor finds its rate "
        "itself without relative_step=False"
    )


def _leave_what_is_not_trained(imported: Imported) -> None:
    """Programs write settings of text encoders whether they are trained or not."""
    if any(part != "unet" for part in imported.settings.get("train.parts") or ()):
        return
    for name in [name for name in imported.settings if name.startswith(ENCODERS)]:
        imported.leave(name, imported.settings.pop(name), "no text encoder is trained: train.parts names none")


def _leave_own_rates(imported: Imported) -> None:
    """An optimizer that finds the rate finds one for all."""
    kind = OPTIMIZERS.settings(imported.choices.get("train/optimizer", "adamw"))
    if not issubclass(kind, AdaptiveSettings) and not imported.settings.get("train.optimizer.relative_step"):
        return
    common = imported.settings["train.optimizer.lr"]

    def keep(name: str, rate: float) -> float | None:
        if rate in (0, common):
            return rate
        imported.leave(name, rate, "the optimizer finds one rate for all parts")
        return None

    _change_own_rates(imported, keep)
    if (rates := imported.settings.pop("train.optimizer.part_lrs", None)) is not None:
        imported.leave("train.optimizer.part_lrs", rates, "the optimizer finds one rate for all parts")


def _settle_warmup(imported: Imported) -> None:
    """One that is longer than the training: with steps, as what is reached of it; with epochs, when that is."""
    settings = imported.settings
    warmup, steps, epochs = (settings.get(name) for name in (WARMUP, "train.steps", "train.epochs"))
    if warmup and steps and warmup > steps:
        reached = steps / warmup
        del settings[WARMUP]
        settings["train.scheduler.warmup_fraction"] = 1.0
        settings["train.optimizer.lr"] *= reached
        for part, rate in settings.get("train.optimizer.part_lrs", {}).items():
            settings["train.optimizer.part_lrs"][part] = rate * reached
        _change_own_rates(imported, lambda _, rate: rate * reached)
        imported.decided.append(
            f"train.scheduler.warmup_fraction is 1 and every rate {reached:g} of what is said: of {warmup} steps of "
            f"warm-up the {steps} of the training are so much, and no rate gets higher there"
        )
    elif warmup and epochs:
        least = math.ceil(warmup * settings.get("train.batch_size", 1) / epochs)
        imported.decided.append(
            f"{WARMUP} is {warmup}, and a shorter training is refused: {epochs:g} epochs of fewer than {least} "
            "pictures, each counted as often as an epoch shows it; train.scheduler.warmup_fraction fits every length"
        )


def _change_own_rates(imported: Imported, change: Callable[[str, float], float | None]) -> None:
    """Change the rates of text encoders and of words; where `change` gives None there is none."""
    settings, common = imported.settings, f"{ENCODERS}lr"
    if settings.get(common) is not None:
        _change_rate(settings, common, common, change)
    for section in (f"{ENCODERS}own", "train.tokens"):
        for name, one in settings.get(section, {}).items():
            if one.get("lr") is not None:
                _change_rate(one, "lr", f"{section}.{name}.lr", change)
    if own := settings.pop(f"{ENCODERS}own", None):
        kept = {part: one for part, one in own.items() if one}
        settings |= {f"{ENCODERS}own": kept} if kept else {}


def _change_rate(holder: dict[str, Any], key: str, name: str, change: Callable[[str, float], float | None]) -> None:
    rate = change(name, holder[key])
    if rate is None:
        del holder[key]
    else:
        holder[key] = rate
