"""What a run takes, leaves and tells."""

from lorakiln.schema.other_trainers.option import Option

SECTIONS: dict[str, tuple[Option, ...]] = {
    "Devices, precision and speed": (
        Option(("--mixed_precision",), ("train.trainer.precision",), "`auto` takes what the GPU has"),
        Option(
            ("--full_fp16", "--full_bf16"),
            (),
            "the adapter is float32 always: it is small, and what it learns is smaller than bf16's steps",
        ),
        Option(("--fp8_base", "--fp8_base_unet"), ("train.trainer.quantize=fp8",), "also int8 and nf4"),
        Option(("--gradient_checkpointing",), ("train.trainer.gradient_checkpointing",)),
        Option(
            ("--cpu_offload_checkpointing",), (), "`train.trainer.gradient_checkpointing` keeps what is left on the GPU"
        ),
        Option(
            ("--xformers", "--sdpa", "--mem_eff_attn"),
            ("train.trainer.attention",),
            "torch's own kernels, by name; auto takes the fastest",
        ),
        Option(("--torch_compile", "--dynamo_backend"), (), "nothing is compiled"),
        Option(
            ("--ddp_timeout", "--ddp_gradient_as_bucket_view", "--ddp_static_graph"),
            (),
            "`train/trainer=ddp` sets what is right",
        ),
        Option(
            (
                "--deepspeed",
                "--zero_stage",
                "--offload_optimizer_device",
                "--offload_optimizer_nvme_path",
                "--offload_param_device",
                "--offload_param_nvme_path",
                "--zero3_init_flag",
                "--zero3_save_16bit_model",
                "--fp16_master_weights_and_gradients",
            ),
            (),
            "an adapter's optimizer state is small",
        ),
    ),
    "Saving": (
        Option(("--output_dir",), ("paths.lora",), "also conf/paths.yaml"),
        Option(("--output_name",), ("export.name",)),
        Option(("--save_model_as",), (), "safetensors always"),
        Option(("--save_precision",), ("export.precision",)),
        Option(("--save_every_n_steps",), ("train.save_every",)),
        Option(("--save_every_n_epochs",), ("train.save_every",), '`"1 epoch"`'),
        Option(("--save_n_epoch_ratio",), (), "`train.save_every` says it"),
        Option(("--save_last_n_steps", "--save_last_n_epochs"), ("train.keep_last",), "a number of files"),
        Option(
            ("--save_state", "--save_state_on_train_end"),
            ("train.checkpoint_every",),
            "resumable checkpoints; which are kept at the end: docs/training.md",
        ),
        Option(("--save_last_n_steps_state", "--save_last_n_epochs_state"), (), "the last two"),
        Option(("--resume",), (), "the same command goes on"),
        Option(("--no_metadata",), ("export.private",), "folder names, captions and pictures are left out"),
        Option(("--huggingface_repo_id",), ("export.push_to_hub",), "also `lorakiln push`"),
        Option(
            (
                "--huggingface_repo_type",
                "--huggingface_path_in_repo",
                "--huggingface_token",
                "--huggingface_repo_visibility",
            ),
            (),
            "`lorakiln push`; the token is the hub's own, `HF_TOKEN`",
        ),
        Option(
            ("--save_state_to_huggingface", "--resume_from_huggingface", "--async_upload"), (), "`dvc push` keeps runs"
        ),
        Option(
            (
                "--metadata_title",
                "--metadata_author",
                "--metadata_description",
                "--metadata_tags",
                "--metadata_usage_hint",
                "--metadata_thumbnail",
                "--metadata_merged_from",
                "--metadata_preprocessor",
                "--metadata_is_negative_embedding",
            ),
            (),
            "title, description and the rest are made of the run; the card is a file to edit",
        ),
        Option(("--metadata_license",), ("export.license",)),
        Option(("--metadata_trigger_phrase",), ("caption.trigger",)),
    ),
    "Samples and validation": (
        Option(("--sample_every_n_steps",), ("train.samples.every",)),
        Option(("--sample_every_n_epochs",), ("train.samples.every",), '`"1 epoch"`'),
        Option(("--sample_at_first",), (), "always: the base is the zero"),
        Option(
            ("--sample_prompts",),
            ("train.samples.file",),
            "kohya's `--n --w --h --d --l --s` are read; or `train.samples.prompts`",
        ),
        Option(("--sample_sampler",), (), "DDIM"),
        Option(("--validation_split",), ("train.validation.fraction",)),
        Option(("--validation_seed",), ("train.validation.seed",)),
        Option(("--validate_every_n_steps",), ("train.validation.every",)),
        Option(("--validate_every_n_epochs",), ("train.validation.every",), '`"1 epoch"`'),
        Option(
            ("--max_validation_steps",),
            (),
            "every picture that is held out counts, with `train.validation.draws` pairs of noise and timestep",
        ),
    ),
    "Records": (
        Option(("--log_with",), ("train/tracker=wandb",), "csv, tensorboard, wandb"),
        Option(("--log_tracker_name",), ("train.tracker.project",)),
        Option(("--wandb_run_name",), ("train.tracker.name",)),
        Option(("--wandb_api_key",), (), "`wandb login`, or `WANDB_API_KEY`: no secret stands in a config"),
        Option(("--logging_dir",), ("paths.run",)),
        Option(("--log_prefix", "--log_tracker_config"), (), "runs are grouped by experiment: `train.tracker.group`"),
        Option(("--log_config",), (), "always"),
        Option(
            ("--console_log_level", "--console_log_file", "--console_log_simple"),
            (),
            "plain lines where there is no terminal",
        ),
        Option(("--config_file",), ("+experiment=NAME",), "conf/experiment/NAME.yaml"),
        Option(("--output_config",), (), "outputs/resolved.yaml, always"),
    ),
}
