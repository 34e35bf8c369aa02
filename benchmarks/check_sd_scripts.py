"""Whether the network code of sd-scripts, or of LyCORIS, computes with an exported file what was trained.

    git clone https://github.com/kohya-ss/sd-scripts && pip install einops
    PYTHONPATH=src python -m benchmarks.check_sd_scripts runs/demo_style/TIME --code sd-scripts

Takes a finished run, `run` and `lora` below its folder, of a base whose layers kohya names as diffusers does (Stable
Diffusion 1.x and 2.x). The file's own `ss_network_module` (networks.lora, lycoris.kohya, ...) is imported from the
checkout and put on the base, and its prediction compared with that of the network as it was trained. Ends with status 1
if a key is not taken, or if the two are further apart, as a share of what the LoRA changes of the prediction, than the
file's precision explains.
"""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.artefacts.tensor_files import DTYPES, load_tensors
from lorakiln.facts.lora import LoraFacts
from lorakiln.facts.run import RunFacts
from lorakiln.families import load_family
from lorakiln.families.protocol import Family
from lorakiln.lora_files import diffusers_form
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.train.adapter_placement import inject_adapters, list_placements

BARS = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
TIMES = [10, 300, 900]


def predict(family: Family, model: ModelSettings) -> Tensor:
    shape = family.latent_shape(model.resolution, model.resolution)
    noisy = torch.randn(len(TIMES), *shape, generator=torch.Generator().manual_seed(0))
    conditioning = family.encode_prompts(["a red apple"] * len(TIMES))
    conditioning |= {
        name: value.expand(len(TIMES), *value.shape)
        for name, value in family.place_conditioning((64, 64, 0, 0, 64, 64)).items()
    }
    with torch.no_grad():
        return family.predict(noisy, torch.tensor(TIMES), conditioning)


def put_trained(family: Family, file: Path, settings: TrainSettings) -> None:
    """The networks as the training had them."""
    fresh = settings.model_copy(update={"adapter": settings.adapter.model_copy(update={"init_from": None})})
    adapted = inject_adapters(family, list_placements(family, fresh), settings.seed)
    adapted.write(diffusers_form.load(file, fresh.adapter.kind))


class OldEncoder(nn.Module):
    """A text encoder with the level that transformers 5 has dropped, and the other program's names have."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.text_model = getattr(encoder, "text_model", encoder)


def put_theirs(family: Family, file: Path, code: Path, facts: RunFacts) -> nn.Module:
    """The networks as the other program makes them."""
    sys.path.insert(0, str(code))
    # sd-scripts' own needs OpenCV and torchvision, for pictures.
    utils: Any = ModuleType("library.utils")
    utils.setup_logging = lambda *given, **named: None
    sys.modules["library.utils"] = utils
    name = load_tensors(file)[1]["ss_network_module"]
    parts: Any = SimpleNamespace(**family.adaptable())
    encoder = OldEncoder(parts.text_encoder)
    network, weights = importlib.import_module(name).create_network_from_weights(
        1.0, str(file), None, encoder, parts.unet, for_inference=True
    )
    network.apply_to(encoder, parts.unet, apply_text_encoder=bool(facts.encoders), apply_unet=bool(facts.targets))
    found = network.load_state_dict(weights, strict=False)
    if found.missing_keys or found.unexpected_keys:
        sys.exit(f"{name} lacks {found.missing_keys[:3]}, and knows no {found.unexpected_keys[:3]}")
    print(f"{name} has taken {len(weights)} tensors")
    return network.eval()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder that `run` and `lora` are in")
    parser.add_argument("--code", type=Path, required=True, help="a checkout of sd-scripts or LyCORIS")
    given = parser.parse_args()
    facts, lora = RunFacts.read(given.run / "run" / "facts.json"), LoraFacts.read(given.run / "lora" / "facts.json")
    model, settings = facts.made_with("model", ModelSettings), facts.made_with("train", TrainSettings)
    base, mine, theirs = (load_family(model) for _ in range(3))
    file = next(one.file for one in facts.adapters if one.step == lora.step)
    put_trained(mine, given.run / "run" / file, settings)
    kept = put_theirs(theirs, given.run / "lora" / lora.file, given.code, facts)
    without, trained, read = (predict(family, model) for family in (base, mine, theirs))
    del kept
    effect = (trained - without).norm()
    bar = BARS[DTYPES[lora.made_with("export", ExportSettings).precision]]
    apart = float((read - trained).norm() / effect)
    print(
        f"the LoRA changes the prediction by {float(effect / without.norm()):.3g} of it; apart by {apart:.2g} of that"
    )
    return 0 if apart < bar else 1


if __name__ == "__main__":
    sys.exit(main())
