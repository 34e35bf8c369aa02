"""What other trainers call a setting: kohya's sd-scripts, diffusers' training scripts, peft."""

EPOCHS = "train.epochs, in place of train.steps"
EVERY = ', as in "1 epoch"'
RATE, RANK, ALPHA = "train.optimizer.lr", "train.adapter.rank", "train.adapter.alpha"
# By the other name's last part, without its "-" and "_".
NAMES = {
    "epoch": EPOCHS,
    "epochs": EPOCHS,
    "maxepochs": EPOCHS,
    "maxtrainepochs": EPOCHS,
    "numepochs": EPOCHS,
    "numtrainepochs": EPOCHS,
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
    "snrgamma": "train.objective.min_snr_gamma",
    "captiondropoutrate": "train.objective.caption_dropout",
    "losstype": "train/objective=NAME",
    "mixedprecision": "train.trainer.precision",
    "saveeverynsteps": "train.save_every",
    "saveeverynepochs": f"train.save_every{EVERY}",
    "saveeveryepochs": f"train.save_every{EVERY}",
    "savelastnepochs": "train.keep_last, of adapters",
    "savelastnsteps": "train.keep_last, of adapters",
    "checkpointstotallimit": "train.keep_last, of adapters",
    "checkpointingsteps": "train.checkpoint_every",
    "sampleeverynsteps": "train.samples.every",
    "sampleeverynepochs": f"train.samples.every{EVERY}",
    "sampleeveryepochs": f"train.samples.every{EVERY}",
    "validateeverynsteps": "train.validation.every",
    "validateeverynepochs": f"train.validation.every{EVERY}",
    "validationepochs": f"train.validation.every{EVERY}",
    "validationsplit": "train.validation.fraction",
    "validationseed": "train.validation.seed",
    "sdpa": "train.trainer.attention",
    "xformers": "train.trainer.attention, of torch's own kernels",
    "memefficientattention": "train.trainer.attention, of torch's own kernels",
    "enablexformersmemoryefficientattention": "train.trainer.attention, of torch's own kernels",
    "useema": "train.ema.decay",
    "emadecay": "train.ema.decay",
    "emamaxdecay": "train.ema.decay",
    "earlystoppingpatience": "train.early_stopping.patience",
    "sampleprompts": "train.samples.file",
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
