"""What the `lorakiln` command does with LoRA files and with datasets: inspect, convert, ..., captions, new."""
