"""A folder of somebody's pictures as a dataset of the project: looked through, and copied or linked."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import list_files
from lorakiln.console.errors import UserError
from lorakiln.schema.captioners import CaptionSettings
from lorakiln.schema.strict_yaml import dump_yaml, read_yaml
from lorakiln.sources import PictureSource, SourceContents, open_source
from lorakiln.tools.caption_lint import find_common_tags
from lorakiln.tools.proposal import PicturesFacts

CONF = Path("conf")


def locate_raw(name: str) -> Path:
    """Where the project in the current folder has a dataset of this name.

    Raises:
        UserError: there is no project here, or the name is that of no folder in it.
    """
    if not (CONF / "paths.yaml").is_file() or not (CONF / "experiment").is_dir():
        fix = "run it in a checkout of LoRAKiln, where conf/ and data/ are"
        raise UserError("no project here: conf/experiment is missing", where=Path.cwd(), fix=fix)
    raw = Path(read_yaml(CONF / "paths.yaml")["paths"]["raw"])
    if name.strip() in ("", ".", "..") or "/" in name or "\0" in name or name.startswith("."):
        fix = f"give one word, which becomes a folder in {raw}: my_dog"
        raise UserError(f"{name!r} is no name for a dataset", where="NAME", fix=fix)
    return raw / name


def format_dataset(name: str) -> str:
    """The line of params.yaml that names it, quoted where it would be read otherwise."""
    line = dump_yaml({"dataset": name}, width=2**20).strip()
    return line if "\n" not in line else f"dataset: {json.dumps(name, ensure_ascii=False)}"


def find_dataset(experiment: Path) -> str | None:
    """The dataset that an experiment's file names; None: none, or it is no such file."""
    try:
        prepare = read_yaml(experiment).get("prepare")
    except UserError:
        return None
    named = prepare.get("dataset") if isinstance(prepare, dict) else None
    return named if isinstance(named, str) else None


def look_through(pictures: Path, name: str, linked: bool = False) -> tuple[PicturesFacts, SourceContents]:
    """What a folder of pictures holds, without opening any.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    check_pulled(pictures)
    if not pictures.is_dir():
        raise UserError("no such folder", where=pictures, fix="name the folder with your pictures after --pictures")
    source = open_source(pictures)
    contents = source.scan()
    subject = [one for one in contents.files if not contents.is_reg(one)]
    if not subject:
        kinds = ", ".join(
            f"{count} {ending or 'without an ending'}" for ending, count in contents.others.most_common(5)
        )
        bad = f"; {len(contents.bad)} that cannot be used, such as {contents.bad[0].source}" if contents.bad else ""
        holds = f"it holds {kinds or 'nothing else'}{bad}"
        raise UserError(f"no pictures here: {holds}", where=pictures, fix="name the folder with your pictures")
    texts = _read_captions(source, subject)
    tokens = {contents.subsets[one].class_tokens for one in subject if one in contents.subsets}
    facts = PicturesFacts(
        name=name,
        pictures=len(subject),
        captioned=len(texts),
        class_tokens=tokens.pop() if len(tokens) == 1 and all(one in contents.subsets for one in subject) else "",
        common=_find_common_words(texts) if len(texts) == len(subject) else "",
        linked=linked,
    )
    return facts, contents


def take_in(pictures: Path, raw: Path, link: bool) -> None:
    """Make the dataset's folder: all files of `pictures` but hidden ones and what file managers leave behind.

    Args:
        link: links to them in the place of copies.

    Raises:
        UserError: the disk is full or not writable; nothing is left then.
    """
    files = sorted(list_files(pictures, follow_links=False))
    if not link:
        check_space(raw, sum(path.stat().st_size for path in files if path.is_file()), "the copied pictures")
    with replacing(raw) as fresh:
        for path in files:
            target = fresh / path.relative_to(pictures)
            target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                os.symlink(path.resolve(), target)
            elif path.is_file():
                shutil.copyfile(path, target)


def _read_captions(source: PictureSource, pictures: Sequence[str]) -> list[str]:
    """The usable captions of these pictures, as `caption` would find them."""
    settings = CaptionSettings(captioner="none")
    captions = source.captions(settings.extensions, settings.precedence)
    found = ((captions.find(picture), picture) for picture in pictures)
    texts = [captions.read(name, picture) for name, picture in found if name]
    return [text for text in texts if isinstance(text, str)]


def _find_common_words(texts: Sequence[str]) -> str:
    """The tag that all captions begin with; else the one that all have, if it is one alone; "" if there is none."""
    common = find_common_tags(texts)
    first = " ".join(texts[0].partition(",")[0].split()) if texts else ""
    begin = all(" ".join(text.partition(",")[0].split()).casefold() == first.casefold() for text in texts)
    if begin and first.casefold() in common:
        return first
    return common[0] if len(common) == 1 else ""
