"""What one or several options of another program are here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """A line of the tables in docs/from-kohya.md and docs/from-diffusers.md.

    Attributes:
        theirs: as that program spells them.
        ours: a setting ("train.adapter.rank"), one with a value ("model.prediction_type=v_prediction") or a choice
            ("train/adapter=dora", "train/scheduler=NAME"); several where it takes all of them; none: it has no
            counterpart.
        remark: what is different, or why there is none.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...] = ()
    remark: str = ""
