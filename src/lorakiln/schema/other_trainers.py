"""What other trainers call a setting: kohya's sd-scripts, diffusers' training scripts, peft."""

STEPS = "train.steps, the optimizer's: epochs x pictures x train.repeats / train.batch_size"
RATE, RANK, ALPHA = "train.optimizer.lr", "train.adapter.rank", "train.adapter.alpha"
QUANTIZE = "train.trainer.quantize"
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
    "snrgamma": "train.objective.min_snr_gamma",
    "captiondropoutrate": "train.objective.caption_dropout",
    "losstype": "train/objective=NAME",
    "mixedprecision": "train.trainer.precision",
    "fp8base": f"{QUANTIZE}=fp8",
    "fp8baseunet": f"{QUANTIZE}=fp8",
    "loadin4bit": f"{QUANTIZE}=nf4",
    "loadin8bit": f"{QUANTIZE}=int8",
    "bnbquantizationconfigpath": f"{QUANTIZE}=nf4",
    "qtype": QUANTIZE,
    "blockstoswap": f"{QUANTIZE}, for blocks are not swapped: a smaller base stays on the device",
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
