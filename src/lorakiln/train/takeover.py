"""A training that another job of the sweep has done, with the same settings and data, taken over as it is."""

import shutil
from pathlib import Path

from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.facts.run import RunFacts
from lorakiln.families.prompt_encoding import PromptEncoding
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking.tracker import RECORD
from lorakiln.train.encoded_dataset import EncodedDataset
from lorakiln.train.record import read_record
from lorakiln.train.remeasuring import report_again
from lorakiln.train.sample_pictures import SampleDrawer, choose_requests, list_samples
from lorakiln.train.tracking import begin_tracking
from lorakiln.train.validation_split import hold_out


def take_over(
    trained: Path, encoded: Path, out: Path, settings: TrainSettings, model: ModelSettings, project: Path
) -> None:
    """Copy a finished run, and tell a tracker's record of its own what that holds: each LoRA has one.

    Args:
        trained: the other job's run.
        encoded: what both train on.
        settings: this job's; those that name its record may be others than the other job's.
        project: see `begin_tracking`.
    """
    data = EncodedDataset.read(encoded)
    facts, provenance = RunFacts.read(trained / "facts.json"), read_json(trained / "provenance.json")
    facts = facts.changed(settings={**facts.settings, "train": settings.model_dump(mode="json")})
    tracker = begin_tracking(settings, data.index, facts.settings, project)
    split = hold_out(data.buckets, settings.validation)
    requests = choose_requests(data, settings.samples, split.trained)
    samples = list_samples(requests, settings.samples, model.resolution)
    sampler = SampleDrawer(samples, model, PromptEncoding.of(data.index.made_with("encode", EncodeSettings)))
    report_again(tracker, read_record(trained), sampler, trained / "samples")
    tracker.finish()
    with replacing(out) as fresh:
        shutil.copytree(trained, fresh, dirs_exist_ok=True)
        facts.write(fresh / "facts.json")
        write_json(fresh / RECORD, tracker.record)
        # Nothing can be judged by how long it took.
        write_json(fresh / "provenance.json", {**provenance, "steps_here": 0, "trained_for": str(trained.parent)})
