"""From a run to LoRA files, a model card and previews."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import write_json, write_text
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.export.card import ZERO_SNR_ADVICE, format_model_card
from lorakiln.export.checkpoint_choice import choose_adapters, choose_weights, choose_which, find_best_step
from lorakiln.export.hub import plan_upload, push
from lorakiln.export.previews import Preview, copy_previews
from lorakiln.export.privacy import remove_private
from lorakiln.export.word_files import FOLDER as WORDS
from lorakiln.export.writer import Writer
from lorakiln.facts.choice import read_choice
from lorakiln.facts.lora import Checked, LoraFacts
from lorakiln.facts.run import RunFacts, SavedAdapter
from lorakiln.families import load_family
from lorakiln.families.file_hashes import compute_kohya_hashes
from lorakiln.families.kinds import find_version
from lorakiln.families.model_source import is_hub_id
from lorakiln.families.protocol import NETWORK, Part
from lorakiln.lora_files.embeddings import split_embeddings
from lorakiln.lora_files.identity import compute_lora_short_hash
from lorakiln.lora_files.training_facts import read_timesteps
from lorakiln.rows import read_captioned
from lorakiln.sampling import Applied
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking import resume_tracker


def export(run: Path, captioned: Path, choice: Path, out: Path, settings: ExportSettings, model: ModelSettings) -> None:
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
    recommended = read_choice(choice).recommended
    main, others = choose_adapters(weights, which, recommended.step if recommended else None)
    # What was chosen by its pictures is better than what only its loss speaks for.
    best = recommended.step if recommended else find_best_step(facts.adapters)
    if recommended and recommended.step != main.step:
        recommended = None
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
        used = _as_drawn(fresh, name, facts, settings) if writer.adapts else None
        previews = copy_previews(run, fresh, name, main.step, most, used)
        chosen = _facts(facts, name, main, settings, fresh, clients, float(f"{worst:.3g}"), writer.words)
        if recommended:
            chosen = chosen.changed(recommended=recommended.at_strength(settings.strength))
        chosen.write(fresh / "facts.json")
        write_json(fresh / f"{name}.json", _notes(chosen))
        write_text(fresh / "README.md", format_model_card(chosen, rows, previews, settings))
    versions = _versions(chosen.file, name, main, others if writer.adapts else [], best)
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


def _as_drawn(folder: Path, name: str, facts: RunFacts, settings: ExportSettings) -> Applied | None:
    """The file as the samples of its step were drawn with it: at full strength. None where that is not known."""
    # Averaged weights may have drawn none of them, and a file of prompts may ask for any weight.
    if facts.averaged or facts.made_with("train", TrainSettings).samples.file is not None:
        return None
    return Applied(name, round(1 / settings.strength, 4), compute_lora_short_hash(folder / f"{name}.safetensors"))


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


def _notes(facts: LoraFacts) -> dict[str, Any]:
    """A1111's sidecar: what its card of the LoRA shows and puts into the prompt."""
    pictures = facts.dataset.pictures - facts.held_out
    kind = find_trained_kind(facts.made_with("train", TrainSettings).adapter.kind)
    skip = facts.made_with("encode", EncodeSettings).clip_skip
    skipped = f"; clip skip {skip}" if skip > 1 else ""
    what = f"{kind.TITLE} of rank {facts.rank}" if facts.rank is not None else "Textual inversion"
    return {
        "description": f"{what}, trained on {format_count(pictures, 'picture')}",
        "sd version": find_version(facts.base.version).a1111,
        "activation text": facts.trigger,
        "preferred weight": facts.recommended.weight if facts.recommended else 1.0,
        "negative text": "",
        "notes": f"base model: {facts.base_model or facts.base.name}; step {facts.step}{skipped}"
        + (f"; {ZERO_SNR_ADVICE}" if facts.zero_terminal_snr else ""),
    }
