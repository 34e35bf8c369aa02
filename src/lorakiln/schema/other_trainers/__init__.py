"""What other trainers call a setting: kohya's sd-scripts, diffusers' training scripts, peft.

Every option of the first two stands in the tables beside this, of which docs/from-kohya.md and docs/from-diffusers.md
are made (`python -m pipelines.option_tables`), by which `lorakiln import` reads their configs, and from which a wrong
name on our command line is answered.
"""

from functools import cache

EVERY = ', as in "1 epoch"'
# Names of other places, and words of a config that are no options; by the last part, without its "-" and "_".
OTHER_NAMES = {
    "epoch": "train.epochs",
    "epochs": "train.epochs",
    "maxepochs": "train.epochs",
    "numepochs": "train.epochs",
    "maxsteps": "train.steps",
    "numsteps": "train.steps",
    "blocklr": "train.optimizer.part_lrs",
    "dim": "train.adapter.rank",
    "lorarank": "train.adapter.rank",
    "r": "train.adapter.rank",
    "loraalpha": "train.adapter.alpha",
    "neurondropout": "train.adapter.dropout",
    "rankpattern": "train.adapter.rank_pattern",
    "alphapattern": "train.adapter.alpha_pattern",
    "initloraweights": "train.adapter.init",
    "targetmodules": "train.adapter.targets",
    "algo": "train/adapter=NAME",
    "dorawd": "train/adapter=dora",
    "userslora": "train/adapter=rslora",
    "rslora": "train/adapter=rslora",
    "decomposefactor": "train.adapter.factor, of train/adapter=lokr",
    "decomposeboth": "train.adapter.decompose_both, of train/adapter=lokr",
    "fullmatrix": "train.adapter.full_matrix, of train/adapter=lokr",
    "rescaled": "train.adapter.rescale, of train/adapter=oft and boft",
    "oftblocksize": "train.adapter.rank, of train/adapter=oft",
    "warmupratio": "train.scheduler.warmup_fraction",
    "warmupsteps": "train.scheduler.warmup_steps",
    "pctstart": "train.scheduler.rise, of train/scheduler=one_cycle",
    "dcoef": "train.optimizer.d_coef",
    "loadin4bit": "train.trainer.quantize=nf4",
    "loadin8bit": "train.trainer.quantize=int8",
    "bnbquantizationconfigpath": "train.trainer.quantize=nf4",
    "qtype": "train.trainer.quantize",
    "blockstoswap": "train.trainer.quantize, for blocks are not swapped: a smaller base stays on the device",
    "saveeverynepochs": f"train.save_every{EVERY}",
    "saveeveryepochs": f"train.save_every{EVERY}",
    "sampleeverynepochs": f"train.samples.every{EVERY}",
    "sampleeveryepochs": f"train.samples.every{EVERY}",
    "validateeverynepochs": f"train.validation.every{EVERY}",
    "validationepochs": f"train.samples.every{EVERY}",
    "checkpointstotallimit": "train.keep_last, of adapters",
    "useema": "train.ema.decay",
    "emadecay": "train.ema.decay",
    "emamaxdecay": "train.ema.decay",
    "earlystoppingpatience": "train.early_stopping.patience",
    "inputperturbation": "train.objective.ip_noise_gamma",
    "rescalebetaszerosnr": "train.objective.zero_terminal_snr",
    "timestepsampling": "train.objective.timestep_density",
    "weightingscheme": "train.objective.timestep_density",
}


def translate_setting(name: str) -> str | None:
    """What a setting of another trainer is called here; None if it is not known, or has no counterpart.

    Args:
        name: dotted or not.
    """
    plain = _plain(name.rpartition(".")[2])
    return OTHER_NAMES.get(plain) or _names().get(plain)


@cache
def _names() -> dict[str, str]:
    from lorakiln.schema.other_trainers import diffusers, sd_scripts  # for a wrong name alone

    names: dict[str, str] = {}
    for sections in (sd_scripts.SECTIONS, diffusers.SECTIONS):
        for options in sections.values():
            for option in options:
                for theirs in option.theirs if option.ours else ():
                    names.setdefault(_plain(theirs), " and ".join(option.ours))
    return names


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
