"""What is trained on: pictures and captions."""

from lorakiln.schema.other_trainers.option import Option

SECTIONS: dict[str, tuple[Option, ...]] = {
    "Pictures": (
        Option(
            ("--train_data_dir",),
            ("prepare.dataset", "prepare.source=kohya_tree"),
            "a folder below data/raw; `N_identifier class` folders are known by their names",
        ),
        Option(("--in_json",), (), "read as `metadata.json` beside the pictures: [datasets.md](datasets.md#captions)"),
        Option(
            ("--dataset_config",),
            ("prepare.source=kohya_config",),
            "a .toml in the dataset's folder; or `dataset.yaml`: [datasets.md](datasets.md#several-sizes-and-rules)",
        ),
        Option(("--dataset_class",), (), "a source of one's own: docs/extending.md"),
        Option(("--reg_data_dir",), ("prepare.source=kohya_tree",), "the folder `reg` of the dataset's own folder"),
        Option(("--resolution",), ("prepare.resolution",), "the side of a square of the same area"),
        Option(("--enable_bucket",), ("prepare.bucket.enable",), "on by default"),
        Option(("--min_bucket_reso",), ("prepare.bucket.min",)),
        Option(("--max_bucket_reso",), ("prepare.bucket.max",)),
        Option(("--bucket_reso_steps",), ("prepare.bucket.step",)),
        Option(("--bucket_no_upscale",), ("prepare.bucket.no_upscale",)),
        Option(("--resize_interpolation",), (), "Lanczos, as Pillow does it, in sRGB"),
        Option(("--flip_aug",), ("encode.flip",)),
        Option(
            ("--random_crop",),
            ("encode.augment.crop",),
            "random, made ahead: `encode.augment.variants` says how many; `prepare.margin=0` is as much room as there",
        ),
        Option(
            ("--color_aug",),
            ("encode.augment.hue", "encode.augment.gamma"),
            "16 and 0.05, with `encode.augment.variants`: [augmentation.md](augmentation.md#colours)",
        ),
        Option(
            ("--face_crop_aug_range",),
            ("prepare.face.closest", "prepare.face.widest"),
            "with `encode.augment.crop=face`; `prepare.face.detector` finds faces, files' names tell none",
        ),
        Option(
            ("--cache_latents", "--cache_latents_to_disk", "--skip_cache_check"),
            (),
            "`encode` always keeps them, by content",
        ),
        Option(("--vae_batch_size",), ("encode.batch_size",)),
        Option(("--cache_info",), (), "`prepare` keeps what it read, by content"),
        Option(
            ("--debug_dataset",),
            (),
            "`outputs/captioned.html` shows what is trained on, `outputs/encoded/variants.png` what is drawn of it",
        ),
    ),
    "Captions": (
        Option(("--caption_extension", "--caption_extention"), ("caption.extensions",), "several, in order"),
        Option(("--caption_prefix",), ("caption.prefix",), "in front of every line, behind `caption.trigger`"),
        Option(("--caption_suffix",), ("caption.suffix",)),
        Option(("--shuffle_caption",), ("encode.captions.shuffle",)),
        Option(("--caption_separator",), ("encode.captions.separator",)),
        Option(("--keep_tokens",), ("encode.captions.keep_tags",)),
        Option(("--keep_tokens_separator",), ("encode.captions.keep_separator",)),
        Option(("--secondary_separator",), ("encode.captions.secondary_separator",)),
        Option(
            ("--enable_wildcard",),
            ("encode.captions.wildcards", "caption.lines"),
            "and a file's lines are captions, of which one is drawn",
        ),
        Option(("--token_warmup_min",), ("encode.captions.tag_warmup_least",)),
        Option(("--token_warmup_step",), ("encode.captions.tag_warmup_steps",), "steps; a fraction there below 1"),
        Option(("--caption_tag_dropout_rate",), ("encode.captions.tag_dropout",)),
        Option(("--caption_dropout_rate",), ("train.objective.caption_dropout",)),
        Option(("--caption_dropout_every_n_epochs",), ("train.objective.caption_dropout_every_epochs",)),
        Option(("--max_token_length",), ("encode.max_tokens",)),
        Option(
            ("--clip_skip",), ("encode.clip_skip",), "1 is the last layer (SDXL: the last but one), 2 the one before"
        ),
        Option(("--weighted_captions",), (), "prompts have weights, captions have not"),
        Option(
            ("--cache_text_encoder_outputs", "--cache_text_encoder_outputs_to_disk"), (), "`encode` always keeps them"
        ),
    ),
}
# A dataset config's other keys are options of the same name.
DATASET_CONFIG: dict[str, tuple[Option, ...]] = {
    "Keys of a dataset config that are no options": (
        Option(
            ("batch_size",),
            ("train.batch_size",),
            "and of a dataset in `dataset.yaml`; `train.micro_batch`, what a device takes at once, is found out",
        ),
        Option(("num_repeats",), ("train.repeats", "prepare.source=kohya_config"), "of all, or of each folder"),
        Option(("is_reg",), ("prepare.source=kohya_config",)),
        Option(("image_dir",), ("prepare.dataset",)),
        Option(("class_tokens",), ("caption.class_tokens",), "with `caption=none`, of pictures without a caption"),
        Option(("metadata_file",), (), "as `metadata.json` in `image_dir` it is read"),
        Option(("network_multiplier", "custom_attributes"), (), "all pictures are trained on alike"),
    ),
}
