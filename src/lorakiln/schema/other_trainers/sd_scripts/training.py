"""How weights move: optimizer, length, noise and loss."""

from lorakiln.schema.other_trainers.option import Option

SECTIONS: dict[str, tuple[Option, ...]] = {
    "Optimizer and schedule": (
        Option(
            ("--optimizer_type",),
            ("train/optimizer=NAME",),
            "ten of them, docs/training.md; any other of pytorch-optimizer by `train/optimizer=pytorch_optimizer`",
        ),
        Option(("--optimizer_args",), ("train.optimizer",), "each is a setting: `train.optimizer.weight_decay=0.1`"),
        Option(("--use_8bit_adam",), ("train/optimizer=adamw8bit",)),
        Option(("--use_lion_optimizer",), ("train/optimizer=lion",)),
        Option(("--learning_rate",), ("train.optimizer.lr",)),
        Option(("--unet_lr",), ("train.optimizer.lr",)),
        Option(
            ("--text_encoder_lr",),
            ("train.text_encoders.lr",),
            "with `train.parts`; of SDXL's second alone: `train.text_encoders.own.text_encoder_2.lr`",
        ),
        Option(("--max_grad_norm",), ("train.max_grad_norm",), "`null` for none, where kohya has 0"),
        Option(
            ("--lr_scheduler",),
            ("train/scheduler=NAME",),
            "constant, linear, cosine, cosine_with_restarts, polynomial, inverse_sqrt, one_cycle, rex, wsd, piecewise",
        ),
        Option(
            ("--lr_scheduler_type", "--lr_scheduler_args"),
            ("train/scheduler=NAME",),
            "REX and cosine with restarts of LoRA_Easy_Training_Scripts are read; one of your own: docs/extending.md",
        ),
        Option(
            ("--lr_warmup_steps",),
            ("train.scheduler.warmup_steps", "train.scheduler.warmup_fraction"),
            "a number below 1 is a fraction there",
        ),
        Option(
            ("--lr_decay_steps",),
            ("train.scheduler.decay_fraction",),
            "of `train/scheduler=wsd`, kohya's warmup_stable_decay, with `train.scheduler.decay_shape=cosine`",
        ),
        Option(("--lr_scheduler_num_cycles",), ("train.scheduler.cycles",)),
        Option(("--lr_scheduler_power",), ("train.scheduler.power",)),
        Option(("--lr_scheduler_timescale",), ("train.scheduler.timescale",), "of `train/scheduler=inverse_sqrt`"),
        Option(("--lr_scheduler_min_lr_ratio",), ("train.scheduler.min_lr_ratio",), "for every schedule but piecewise"),
        Option(("--fused_backward_pass",), (), "an adapter's gradients are small"),
    ),
    "Length and batches": (
        Option(("--max_train_steps",), ("train.steps",)),
        Option(("--max_train_epochs",), ("train.epochs",), "in place of `train.steps`"),
        Option(
            ("--train_batch_size",),
            ("train.batch_size",),
            "over all devices together, and what is accumulated included",
        ),
        Option(
            ("--gradient_accumulation_steps",), ("train.micro_batch",), "pictures at once; the batch stays what it is"
        ),
        Option(
            ("--dataset_repeats",),
            ("train.repeats",),
            "an epoch, and what is counted in epochs, is so much longer; a number of steps is not",
        ),
        Option(("--seed",), ("train.seed",)),
        Option(
            ("--max_data_loader_n_workers", "--persistent_data_loader_workers"), (), "latents are in memory, or mapped"
        ),
        Option(
            ("--initial_epoch", "--initial_step", "--skip_until_initial_step"),
            (),
            "the same command goes on where it stopped, bit for bit",
        ),
    ),
    "Noise and loss": (
        Option(("--loss_type",), ("train/objective=NAME",), "l2 is `mse`; l1, huber, smooth_l1"),
        Option(("--huber_schedule",), ("train.objective.huber_schedule",)),
        Option(("--huber_c",), ("train.objective.huber_delta",)),
        Option(("--huber_scale",), ("train.objective.huber_scale",)),
        Option(("--min_snr_gamma",), ("train.objective.min_snr_gamma",)),
        Option(("--debiased_estimation_loss",), ("train.objective.debiased_estimation",)),
        Option(("--scale_v_pred_loss_like_noise_pred",), ("train.objective.scale_v_pred_loss_like_noise_pred",)),
        Option(("--v_pred_like_loss",), ("train.objective.v_pred_like_loss",)),
        Option(("--noise_offset",), ("train.objective.noise_offset",)),
        Option(("--noise_offset_random_strength",), ("train.objective.noise_offset_random",)),
        Option(("--adaptive_noise_scale",), (), "it was an experiment, and hardly used"),
        Option(("--multires_noise_iterations",), ("train.objective.multires_noise_iterations",)),
        Option(("--multires_noise_discount",), ("train.objective.multires_noise_discount",)),
        Option(("--ip_noise_gamma",), ("train.objective.ip_noise_gamma",)),
        Option(("--ip_noise_gamma_random_strength",), ("train.objective.ip_noise_gamma_random",)),
        Option(("--zero_terminal_snr",), ("train.objective.zero_terminal_snr",)),
        Option(("--min_timestep",), ("train.objective.min_timestep",)),
        Option(("--max_timestep",), ("train.objective.max_timestep",)),
        Option(
            ("--masked_loss",),
            ("train.objective.unmasked_weight",),
            "0 for what is done there; a picture without a mask is learned as a whole",
        ),
        Option(
            ("--conditioning_data_dir",),
            ("prepare.masks=files",),
            "the folder `masks` beside the pictures: [datasets.md](datasets.md#masks)",
        ),
        Option(("--alpha_mask",), ("prepare.masks=alpha",), "with `train.objective.unmasked_weight=0`"),
        Option(
            ("--prior_loss_weight",),
            ("train.objective.prior_loss_weight",),
            "of regularisation pictures: [datasets.md](datasets.md)",
        ),
    ),
}
