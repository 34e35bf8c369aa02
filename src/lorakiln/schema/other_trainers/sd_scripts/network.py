"""The base model and the adapter."""

from lorakiln.schema.other_trainers.option import Option

SECTIONS: dict[str, tuple[Option, ...]] = {
    "The model": (
        Option(
            ("--pretrained_model_name_or_path",),
            ("model.path",),
            "a hub id, a folder or a single file; `model=sd15`, `model=sdxl` choose all that suits one",
        ),
        Option(("--v2",), ("model=sd21",), "told by the weights' shapes; a wrong one is refused"),
        Option(
            ("--v_parameterization",),
            ("model.prediction_type=v_prediction",),
            "read from the model where that says it; `model=sd21_v`",
        ),
        Option(("--vae",), ("model.vae",)),
        Option(("--tokenizer_cache_dir",), (), "the hub's own cache, `HF_HOME`"),
        Option(("--disable_mmap_load_safetensors",), (), "files are read tensor by tensor"),
        Option(("--lowram", "--highvram"), (), "memory is counted before the start, docs/memory.md"),
        Option(
            ("--base_weights", "--base_weights_multiplier"),
            (),
            "`lorakiln merge` puts LoRAs into a base; train on that",
        ),
        Option(("--no_half_vae",), (), "SDXL's own VAE is float32 always, which is what this is for"),
    ),
    "The adapter": (
        Option(
            ("--network_module",),
            ("train/adapter=NAME",),
            "lora, rslora, dora, loha, lokr, oft, boft, ia3: those of networks and of LyCORIS",
        ),
        Option(("--network_dim",), ("train.adapter.rank",)),
        Option(("--network_alpha",), ("train.adapter.alpha",), "kohya's default is 1, ours is the rank's"),
        Option(
            ("--network_dropout",),
            ("train.adapter.dropout",),
            "of what goes into the first factor, as peft has it; of what comes out of it there",
        ),
        Option(("--network_args",), ("train.adapter",), "see the table of its keys below"),
        Option(("--network_weights",), ("train.adapter.init_from",)),
        Option(("--dim_from_weights",), (), "set `train.adapter.rank` to what `lorakiln inspect` tells"),
        Option(("--network_train_unet_only",), ("train.parts=null",), "our default; kohya's is all parts"),
        Option(("--network_train_text_encoder_only",), ("train.parts",), "[text_encoder]; of SDXL text_encoder_2 too"),
        Option(("--scale_weight_norms",), ("train.adapter.max_norm",)),
        Option(("--training_comment",), (), "the file holds the whole config; `train.tracker.tags` for W&B"),
    ),
    "`--network_args`": (
        Option(
            ("conv_dim",),
            ("train.adapter.targets=locon", "train.adapter.rank_pattern"),
            "convolutions too; another rank for them: `{conv1: 4, conv2: 4}`",
        ),
        Option(("conv_alpha",), ("train.adapter.alpha_pattern",)),
        Option(("block_dims", "conv_block_dims"), ("train.adapter.rank_pattern",), "by names: `{down_blocks.0.*: 4}`"),
        Option(("block_alphas", "conv_block_alphas"), ("train.adapter.alpha_pattern",)),
        Option(
            ("down_lr_weight", "mid_lr_weight", "up_lr_weight"),
            ("train.optimizer.part_lrs",),
            "rates, not factors: `{down_blocks: 1e-4}`",
        ),
        Option(("block_lr_zero_threshold",), (), "a rate of 0 is 0"),
        Option(("dropout",), ("train.adapter.dropout",), "LyCORIS'; networks.lora has --network_dropout"),
        Option(("rank_dropout",), ("train.adapter.rank_dropout",)),
        Option(("module_dropout",), ("train.adapter.module_dropout",)),
        Option(("loraplus_lr_ratio", "loraplus_unet_lr_ratio"), ("train.adapter.rate_ratio",)),
        Option(("loraplus_text_encoder_lr_ratio",), (), "`train.adapter.rate_ratio` is that of all parts"),
    ),
}
