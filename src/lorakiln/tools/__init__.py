"""What the `lorakiln` command does with LoRA files: inspect, convert, resize, merge, extract, generate."""
