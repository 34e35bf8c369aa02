"""Runs sd-scripts' train_network.py on a base of another size than Stable Diffusion's; run by sd-scripts' own Python.

    PYTHON benchmarks/sd_scripts_small.py CHECKOUT MODEL ARGUMENT ...

sd-scripts states the architecture of SD 1.x in constants. Here they are set from MODEL's configs before anything is
made, and the LoRA is put on the attention alone, as the programs that it is compared with have it. Its files stay as
they are, and so does what it computes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any


def set_architecture(unet: Any, config: dict[str, Any]) -> None:
    """library.original_unet's numbers."""
    widths = tuple(config["block_out_channels"])
    groups, layers = config["norm_num_groups"], config["layers_per_block"]
    constants = {
        "BLOCK_OUT_CHANNELS": widths,
        "TIMESTEP_INPUT_DIM": widths[0],
        "TIME_EMBED_DIM": 4 * widths[0],
        "IN_CHANNELS": config["in_channels"],
        "OUT_CHANNELS": config["out_channels"],
        "LAYERS_PER_BLOCK": layers,
        "LAYERS_PER_BLOCK_UP": layers + 1,
        "NORM_GROUPS": groups,
        "TRANSFORMER_NORM_NUM_GROUPS": groups,
        "DOWN_BLOCK_TYPES": config["down_block_types"],
        "UP_BLOCK_TYPES": config["up_block_types"],
    }
    for name, value in constants.items():
        if not hasattr(unet, name):
            sys.exit(f"this sd-scripts has no original_unet.{name}; 48d368f, of February 2026, has been tried")
        setattr(unet, name, value)


def main() -> None:
    code, model, *arguments = sys.argv[1:]
    model = str(Path(model).resolve())
    os.chdir(code)
    sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "networks")]
    sys.argv = ["train_network.py", *arguments]

    import torch
    from library import original_unet, strategy_sd, train_util

    set_architecture(original_unet, json.loads(Path(model, "unet", "config.json").read_text()))

    class DownBlock(original_unet.DownBlock2D):
        """A plain list hides the downsampler from load_state_dict; SD 1.x' block of this kind has none."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            if self.downsamplers is not None:
                self.downsamplers = torch.nn.ModuleList(self.downsamplers)

    original_unet.DownBlock2D = DownBlock
    strategy_sd.TOKENIZER_ID = os.path.join(model, "tokenizer")  # else the hub's

    import train_network
    from networks import lora

    lora.LoRANetwork.UNET_TARGET_REPLACE_MODULE = ["CrossAttention"]
    parser = train_network.setup_parser()
    given = parser.parse_args()
    train_util.verify_command_line_training_args(given)
    trainer = train_network.NetworkTrainer()
    trainer.vae_scale_factor = json.loads(Path(model, "vae", "config.json").read_text())["scaling_factor"]
    trainer.train(train_util.read_config_from_file(given, parser))


if __name__ == "__main__":
    main()
