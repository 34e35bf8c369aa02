"""kohya's sd-scripts: train_network.py and sdxl_train_network.py, as of February 2026; a file for each subject."""

from lorakiln.schema.other_trainers.option import Option
from lorakiln.schema.other_trainers.sd_scripts import network, pictures, running, training

SECTIONS: dict[str, tuple[Option, ...]] = {
    **network.SECTIONS,
    **training.SECTIONS,
    **pictures.SECTIONS,
    **running.SECTIONS,
    **pictures.DATASET_CONFIG,
}
