"""What other trainers call a setting: kohya's sd-scripts, diffusers' training scripts, peft."""

STEPS = "train.steps, the optimizer's: epochs x pictures x train.repeats / train.batch_size"
RATE, RANK, ALPHA = "train.optimizer.lr", "train.adapter.rank", "train.adapter.alpha"
# By the other name's last part, without its "-" and "_".
NAMES = {
    "epoch": STEPS,
    "epochs": STEPS,
    "maxepochs": STEPS,
    "maxtrainepochs": STEPS,
    "numepochs": STEPS,
    "numtrainepochs": STEPS,
    "maxsteps": "train.steps",
    "maxtrainsteps": "train.steps",
    "numsteps": "train.steps",
    "learningrate": RATE,
    "unetlr": RATE,
    "blocklr": "train.optimizer.part_lrs",
    "trainbatchsize": "train.batch_size",
    "gradientaccumulationsteps": "train.micro_batch, which follows from it",
    "networkdim": RANK,
    "dim": RANK,
    "lorarank": RANK,
    "r": RANK,
    "networkalpha": ALPHA,
    "loraalpha": ALPHA,
    "networkdropout": "train.adapter.dropout",
    "networkweights": "train.adapter.init_from",
    "optimizertype": "train/optimizer=NAME",
    "lrscheduler": "train/scheduler=NAME",
    "lrwarmupsteps": "train.scheduler.warmup_steps",
    "lrschedulernumcycles": "train.scheduler.cycles",
    "lrschedulerpower": "train.scheduler.power",
    "lrschedulertype": "train/scheduler=NAME",
    "lrschedulertimescale": "train.scheduler.timescale",
    "lrschedulerminlrratio": "train.scheduler.min_lr_ratio",
    "lrdecaysteps": "train.scheduler.decay_fraction, of train/scheduler=wsd",
    "warmupratio": "train.scheduler.warmup_fraction",
    "warmupsteps": "train.scheduler.warmup_steps",
    "pctstart": "train.scheduler.rise, of train/scheduler=one_cycle",
    "optimizerargs": "train.optimizer, each by its own name",
    "use8bitadam": "train/optimizer=adamw8bit",
    "uselionoptimizer": "train/optimizer=lion",
    "adambeta1": "train.optimizer.betas",
    "adambeta2": "train.optimizer.betas",
    "adamepsilon": "train.optimizer.eps",
    "adamweightdecay": "train.optimizer.weight_decay",
    "prodigybeta3": "train.optimizer.beta3",
    "prodigyusebiascorrection": "train.optimizer.use_bias_correction",
    "prodigysafeguardwarmup": "train.optimizer.safeguard_warmup",
    "dcoef": "train.optimizer.d_coef",
    "snrgamma": "train.objective.min_snr_gamma",
    "captiondropoutrate": "train.objective.caption_dropout",
    "losstype": "train/objective=NAME",
    "mixedprecision": "train.trainer.precision",
    "saveeverynsteps": "train.save_every",
    "checkpointingsteps": "train.checkpoint_every",
    "sampleeverynsteps": "train.samples.every",
    "sampleprompts": "train.samples.prompts",
    "validationprompt": "train.samples.prompts",
    "numrepeats": "train.repeats",
    "maxtokenlength": "encode.max_tokens",
    "flipaug": "encode.flip",
    "randomflip": "encode.flip",
    "pretrainedmodelnameorpath": "model.path",
    "outputname": "export.name",
    "saveprecision": "export.precision",
    "instanceprompt": "caption.trigger",
    "instancedatadir": "prepare.dataset",
    "traindatadir": "prepare.dataset",
    "maxbucketreso": "prepare.bucket.max",
    "minbucketreso": "prepare.bucket.min",
    "bucketresosteps": "prepare.bucket.step",
    "bucketnoupscale": "prepare.bucket.no_upscale",
}


def translate_setting(name: str) -> str | None:
    """What a setting of another trainer is called here; None if it is not known.

    Args:
        name: dotted or not.
    """
    return NAMES.get(name.rpartition(".")[2].replace("_", "").replace("-", "").lower())
