"""From a run to LoRA files, a model card and previews."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.networks import list_weights
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, write_json, write_text
from lorakiln.artefacts.tensor_files import DTYPES, load_tensors
from lorakiln.console.errors import UserError
from lorakiln.export.adapter_comparison import compare_adapters
from lorakiln.export.card import ZERO_SNR_ADVICE, format_model_card
from lorakiln.export.checkpoint_choice import choose_adapters, choose_weights, choose_which, find_best_step
from lorakiln.export.hub import plan_upload, push
from lorakiln.export.previews import Preview, copy_previews
from lorakiln.export.privacy import remove_places, remove_private
from lorakiln.export.words import FOLDER as WORDS
from lorakiln.export.words import check_bundle, write_words
from lorakiln.facts import Checked, LoraFacts, RunFacts, SavedAdapter
from lorakiln.families import load_family
from lorakiln.families.file_hashes import compute_kohya_hashes
from lorakiln.families.kinds import find_version, list_adapted_parts
from lorakiln.families.model_source import is_hub_id
from lorakiln.families.protocol import NETWORK, Family, Part
from lorakiln.families.shapes import has_kernel
from lorakiln.lora_files import diffusers_form, kohya_form, kohya_metadata
from lorakiln.lora_files.casting import CastAdapter, cast_adapter
from lorakiln.lora_files.embeddings import split_embeddings
from lorakiln.lora_files.reading import read_as_stored
from lorakiln.lora_files.training_facts import read_timesteps
from lorakiln.lora_files.writing import write_peft
from lorakiln.rows import CaptionedRow, read_captioned
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking import resume_tracker


def export(run: Path, captioned: Path, out: Path, settings: ExportSettings, model: ModelSettings) -> None:
    """Write the chosen adapters of `run` in kohya's and diffusers' form, and read them back.

    Writes `<name>.safetensors` (kohya), `diffusers/`, README.md (model card), `<name>.json` and `<name>.png`
    (A1111's notes and preview), `previews/` and facts.json.

    Raises:
        UserError: there is no such adapter, the base model is another one than it was trained on, a weight is not
            finite in the precision asked for, or a written file does not do what was trained.
    """
    facts = RunFacts.read(run / "facts.json")
    rows = read_captioned(captioned)
    # Only the names of its layers are needed: half the memory will do.
    family = load_family(model, choose_parts(facts), dtype=torch.bfloat16)
    if family.facts["hash"] != facts.base.hash:
        raise UserError(
            f"the run was trained on {facts.base.path}, whose weights are not those of {model.path}",
            where=run / "facts.json",
            fix="train again, or set `model` to what the run was trained on",
        )
    name = _name(settings, facts)
    if settings.private:
        facts = remove_private(facts, name)
    facts = facts.changed(
        alpha=facts.alpha * settings.strength,
        strength=settings.strength,
        base=facts.base.changed(name=Path(model.path).name),
        base_model=settings.base_model or (model.path if is_hub_id(model.path) else None),
    )
    which = choose_which(settings.which, facts.made_with("train", TrainSettings))
    weights = choose_weights(facts.adapters, settings.weights)
    if weights != facts.adapters:
        facts = facts.changed(averaged=True)
    main, others = choose_adapters(weights, which)
    # Two files of the main one, and what is written stands beside what it replaces until the end.
    needed = sum((run / one.file).stat().st_size for one in (main, main, *others))
    check_space(out, needed, "the exported adapters")
    with replacing(out) as fresh:
        writer = Writer(run, fresh, family, facts, rows, settings, read_file_facts(model, settings))
        worst = writer.write_kohya(name, main)
        for other in others:
            worst = max(worst, writer.write_kohya(_beside(name, other), other))
        for one in (main, *others):
            writer.write_words(one, "" if one is main else _beside("", one))
        clients = list(writer.clients) if writer.adapts else []
        if writer.foldable and writer.adapts:
            worst = max(worst, writer.write_diffusers(main))
            clients.append("diffusers")
        if writer.adapts and writer.is_in_peft(main):
            worst = max(worst, writer.write_peft(main))
            clients.append("peft")
        most = 0 if settings.private else settings.previews
        previews = copy_previews(run, fresh, name, main.step, most)
        chosen = _facts(facts, name, main, settings, fresh, clients, float(f"{worst:.3g}"), writer.words)
        chosen.write(fresh / "facts.json")
        write_json(fresh / f"{name}.json", _notes(chosen))
        write_text(fresh / "README.md", format_model_card(chosen, rows, previews, settings))
    versions = _versions(chosen.file, name, main, others if writer.adapts else [], find_best_step(facts.adapters))
    _track(run, captioned, out, chosen, previews, settings, versions)
    if settings.push_to_hub:
        upload = plan_upload(out, settings.push_to_hub)
        print(f"{upload}\nsent: {push(upload)}", flush=True)
    how = f"{settings.precision}, read back as {', '.join(clients)} do" if clients else "fp32, read back"
    print(
        f"exported {out / chosen.file}: step {main.step}, {how}, and equal",
        flush=True,
    )


def choose_parts(facts: RunFacts) -> tuple[Part, ...]:
    """What of the base a run's adapters are on."""
    return ("text", *NETWORK) if facts.encoders else NETWORK


def read_file_facts(model: ModelSettings, settings: ExportSettings) -> dict[str, str]:
    """What of the file's metadata is read from the base model's own files, and from the settings of the export."""
    told = {"modelspec.license": settings.license} if settings.license else {}
    if model.vae is not None:
        told["ss_vae_name"] = Path(model.vae).name
    for path, kind in ((model.path, "sd_model"), (model.vae, "vae")):
        if path is not None and (hashes := compute_kohya_hashes(path)):
            told[f"ss_{kind}_hash"], told[f"ss_new_{kind}_hash"] = hashes
    return told


def _name(settings: ExportSettings, facts: RunFacts) -> str:
    """The LoRA's name: the dataset's folder's if none is set, but that is nobody's business with `private`."""
    name = settings.name or ("lora" if settings.private else facts.dataset.name)
    if name in ("facts", "diffusers", "previews", "README", WORDS):
        raise UserError(f"{name!r} is the name of another file there", fix="set export.name to another name")
    return name


def _beside(name: str, adapter: SavedAdapter) -> str:
    """What a file of another step is called."""
    return f"{name}-step{adapter.step:08d}"


@dataclass(frozen=True)
class WrittenVersion:
    """One of the written files as the tracker keeps it."""

    file: str
    step: int
    validation_loss: float | None
    aliases: list[str]


def _versions(
    file: str, name: str, main: SavedAdapter, others: Sequence[SavedAdapter], best: int | None
) -> list[WrittenVersion]:
    """All that were written, the main one last: the tracker's newest is its `latest`."""
    files = [(f"{_beside(name, one)}.safetensors", one) for one in others] + [(file, main)]
    return [
        WrittenVersion(path, one.step, one.validation_loss, ["best"] if one.step == best else []) for path, one in files
    ]


def _facts(
    facts: RunFacts,
    name: str,
    main: SavedAdapter,
    settings: ExportSettings,
    folder: Path,
    clients: list[str],
    difference: float,
    words: list[str],
) -> LoraFacts:
    file, layers = f"{name}.safetensors", 0
    if clients:
        kept = split_embeddings(load_tensors(folder / file)[0], folder / file)[0]
        layers = len({key.partition(".")[0] for key in kept})
    else:
        file = words[0]
    return LoraFacts(
        name=name,
        file=file,
        files=sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")),
        hash=hash_file(folder / file),
        step=main.step,
        max_steps=facts.max_steps,
        validation_loss=main.validation_loss,
        rank=facts.rank if clients else None,
        alpha=facts.alpha if clients else None,
        strength=facts.strength,
        **({"tokens": facts.tokens, "embeddings": words} if facts.tokens else {}),
        **({"averaged": True} if facts.averaged else {}),
        targets=facts.targets,
        **({"encoders": facts.encoders} if facts.encoders else {}),
        base=facts.base,
        base_model=facts.base_model,
        dataset=facts.dataset,
        trigger=facts.trigger,
        held_out=facts.held_out,
        timesteps=read_timesteps(facts),
        zero_terminal_snr=facts.zero_terminal_snr,
        init_from=facts.init_from,
        checked=Checked(layers=layers, clients=clients, largest_relative_difference=difference),
        settings={**facts.settings, "export": settings.model_dump(mode="json")},
    )


def _track(
    run: Path,
    captioned: Path,
    out: Path,
    facts: LoraFacts,
    previews: Sequence[Preview],
    settings: ExportSettings,
    versions: Sequence[WrittenVersion],
) -> None:
    tracker = resume_tracker(run, "export", {"export": settings.model_dump(mode="json")})
    assert facts.step is not None and facts.checked is not None  # of what export has just written
    tracker.log({"export/step": facts.step, "export/difference": facts.checked.largest_relative_difference})
    drawn = {f"{Path(one.path).stem} {one.prompt}": out / one.path for one in previews}
    if drawn:
        tracker.images("export/previews", drawn, previews[0].step)
    told = {"rank": facts.rank, "alpha": facts.alpha, "strength": facts.strength, "trigger": facts.trigger}
    told |= {"base": facts.base.hash, "dataset": facts.dataset.hash}
    if not settings.private:
        tracker.dataset(facts.dataset, captioned, read_captioned(captioned))
    for one in versions:
        of_file = {"step": one.step, "validation_loss": one.validation_loss, "hash": hash_file(out / one.file)}
        tracker.artifact("lora", f"{facts.name}-lora", {one.file: out / one.file}, told | of_file, one.aliases)
    tracker.finish()


class Writer:
    """Writes adapters of one run and reads each file back."""

    def __init__(
        self,
        run: Path,
        folder: Path,
        family: Family,
        facts: RunFacts,
        rows: list[CaptionedRow],
        settings: ExportSettings,
        told: Mapping[str, str],
    ) -> None:
        self.run, self.folder, self.family, self.facts, self.rows = run, folder, family, facts, rows
        self.settings, self.dtype = settings, DTYPES[settings.precision]
        self.clients = list(family.client_keys())
        self.kind_name = facts.made_with("train", TrainSettings).adapter.kind
        self.kind, self.weights = find_trained_kind(self.kind_name), list_weights(family.adaptable())
        self.metadata = dict(told)
        self.noted: set[str] = set()
        # Files of words, below the folder.
        self.words: list[str] = []
        self.adapts = facts.made_with("train", TrainSettings).parts != []

    def trained(self, adapter: SavedAdapter) -> Adapter:
        """What was trained, at the strength that the files are to have."""
        found = diffusers_form.load(self.run / adapter.file, self.kind_name)
        if self.settings.strength == 1:
            return found
        layers = {name: self.kind.scale(layer, self.settings.strength) for name, layer in found.layers.items()}
        return replace(found, layers=layers)

    def write_kohya(self, name: str, adapter: SavedAdapter) -> float:
        """Write `<name>.safetensors`, if there is an adapter; return the largest relative difference of a layer."""
        if not self.adapts:
            return 0.0
        trained, path = self.trained(adapter), self.folder / f"{name}.safetensors"
        if self.settings.embeddings == "file":
            trained = replace(trained, embeddings={})
        ready = self.fit(trained, name)
        wide = any(has_kernel(layer.shape or ()) for layer in trained.layers.values())
        facts = remove_places(self.facts).changed(step=adapter.step, convolutions=wide)
        metadata = (
            kohya_metadata.build_metadata(facts, self.rows, name, self.settings.private, self.times()) | self.metadata
        )
        tensors = kohya_form.make_tensors(ready.adapter, self.family.kohya_name, self.kind_name)
        metadata = kohya_metadata.add_hashes(metadata, tensors)
        kohya_form.save(ready.adapter, path, self.family, metadata, self.kind_name)
        check_bundle(trained.embeddings.values(), path)
        return max(
            self.compare(
                trained,
                ready,
                kohya_form.load(path, self.family, client, self.kind_name),
                f"{path.name}, read by {client}",
            )
            for client in self.clients
        )

    def write_words(self, adapter: SavedAdapter, suffix: str) -> None:
        """Write the trained words as files of their own, if they are to be; `suffix` ends their names."""
        if self.adapts and self.settings.embeddings == "bundle":
            return
        trained, version = self.trained(adapter).embeddings.values(), find_version(self.facts.base.version)
        written = write_words(trained, self.folder, suffix, version)
        self.words += [] if suffix else written

    def compare(self, trained: Adapter, ready: CastAdapter, written: Adapter, where: str) -> float:
        """The largest relative difference of a layer; UserError if one is wrong."""
        return compare_adapters(trained, ready, written, self.dtype, where, self.kind, self.weights.__getitem__)

    def fit(self, trained: Adapter, name: str, *, fold: bool = False) -> CastAdapter:
        """What the file is to hold; layers that the precision loses a part of are told once."""
        ready = cast_adapter(trained, self.dtype, name, fold=fold, kind=self.kind_name)
        if ready.lost and str(ready) not in self.noted:
            self.noted.add(str(ready))
            print(f"note: {ready}", flush=True)
        return ready

    @property
    def foldable(self) -> bool:
        """Whether diffusers loads this kind."""
        return hasattr(self.kind, "fold")

    def is_in_peft(self, adapter: SavedAdapter) -> bool:
        """Whether peft loads this kind's layers, and diffusers does not."""
        ask: Any = getattr(self.kind, "in_peft", None)
        return ask is not None and ask(self.trained(adapter).layers)

    def times(self) -> tuple[datetime, datetime] | None:
        """When the training began and ended, if that is to be told."""
        if not self.settings.timestamps:
            return None
        told = read_json(self.run / "provenance.json")
        return datetime.fromisoformat(told["began"]), datetime.fromisoformat(told["ended"])

    def write_diffusers(self, adapter: SavedAdapter) -> float:
        """Write the folder that diffusers loads: folded, since not every reader of it looks for alphas."""
        trained, folder = self.trained(adapter), self.folder / "diffusers"
        path = folder / "pytorch_lora_weights.safetensors"
        ready = self.fit(trained, path.name, fold=True)
        # Nothing else in it tells the base, where only self-attention is adapted.
        told = {"ss_base_model_version": self.facts.base.version}
        diffusers_form.save(replace(ready.adapter, metadata=told, embeddings={}), path, self.kind_name)
        config = diffusers_form.make_part_config(ready.adapter, list_parts(trained)[0], self.kind_name)
        write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": self.facts.base_model})
        return self.compare(trained, ready, diffusers_form.load(path, self.kind_name), path.name)

    def write_peft(self, adapter: SavedAdapter) -> float:
        """Write the folder that peft loads, of kinds that diffusers does not load; of several networks one for each."""
        whole, folder = self.trained(adapter), self.folder / "peft"
        told, worst = {"ss_base_model_version": self.facts.base.version}, 0.0
        parts = list_parts(whole)
        for part in parts:
            trained = whole.select(part)
            path = folder / part if len(parts) > 1 else folder
            ready = self.fit(trained, path.name)
            write_peft(replace(ready.adapter, metadata=told), path, self.kind_name)
            worst = max(worst, self.compare(trained, ready, read_as_stored(path).adapter, path.name))
        return worst


def list_parts(adapter: Adapter) -> list[str]:
    """The parts of the base that it changes, the denoiser first."""
    parts = {name.partition(".")[0] for name in adapter.layers}
    return [part for part in list_adapted_parts() if part in parts]


def _notes(facts: LoraFacts) -> dict[str, Any]:
    """A1111's sidecar: what its card of the LoRA shows and puts into the prompt."""
    pictures = facts.dataset.pictures - facts.held_out
    kind = find_trained_kind(facts.made_with("train", TrainSettings).adapter.kind)
    skip = facts.made_with("encode", EncodeSettings).clip_skip
    skipped = f"; clip skip {skip}" if skip > 1 else ""
    what = f"{kind.TITLE} of rank {facts.rank}" if facts.rank is not None else "Textual inversion"
    return {
        "description": f"{what}, trained on {pictures} pictures",
        "sd version": find_version(facts.base.version).a1111,
        "activation text": facts.trigger,
        "preferred weight": 1.0,
        "negative text": "",
        "notes": f"base model: {facts.base_model or facts.base.name}; step {facts.step}{skipped}"
        + (f"; {ZERO_SNR_ADVICE}" if facts.zero_terminal_snr else ""),
    }
