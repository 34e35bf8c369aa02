"""An exported folder on the Hugging Face Hub, when asked."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from lorakiln.console.errors import UserError
from lorakiln.families.model_source import is_hub_id

# What a stranger can use; facts.json and provenance.json tell of the machine and stay at home.
WANTED = ("README.md", "*.safetensors", "*.json", "*.png", "diffusers/*", "previews/*")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
AT_HOME = ("facts.json", "provenance.json")


@dataclass(frozen=True)
class Upload:
    """What goes where.

    Attributes:
        files: (name in the repository, bytes), in order.
    """

    folder: Path
    repository: str
    public: bool
    files: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        lines = [f"  {name}  {size / 2**20:.2f} MiB" for name, size in self.files]
        who = "everyone" if self.public else "you alone"
        return "\n".join([f"{self.folder} -> huggingface.co: {self.repository}, seen by {who}", *lines])


def plan_upload(folder: Path, repository: str, public: bool = False) -> Upload:
    """What `push` would send.

    Raises:
        UserError: `folder` is no exported one, or `repository` is no "owner/name".
    """
    if not (folder / "README.md").is_file() or not list(folder.glob("*.safetensors")):
        raise UserError(
            "not an exported LoRA: README.md or the .safetensors is missing",
            where=folder,
            fix="name the export's folder, such as outputs/lora",
        )
    if repository.count("/") != 1 or not all(part.strip() for part in repository.split("/")):
        raise UserError(f"{repository!r} is no repository of the hub", fix="write owner/name")
    found = {path for pattern in WANTED for path in folder.glob(pattern) if path.is_file()}
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    kept = [name for name in names if name not in AT_HOME]
    return Upload(folder, repository, public, tuple((name, (folder / name).stat().st_size) for name in kept))


def check_card(folder: Path) -> None:
    """Refuse a card that the hub would refuse, before anything is sent.

    Raises:
        UserError: its base_model is no model of the hub, or its front matter is no YAML.
    """
    card = folder / "README.md"
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card.read_text("utf-8", errors="replace"), re.DOTALL)
    try:
        matter = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError as error:
        what = f"its front matter is no YAML ({str(error).splitlines()[0]})"
        raise UserError(what, where=card, fix="mend it, or export again") from error
    named = matter.get("base_model") if isinstance(matter, dict) else None
    for name in named if isinstance(named, list) else [named]:
        if name is not None and not (isinstance(name, str) and HUB_ID.fullmatch(name) and is_hub_id(name)):
            raise UserError(
                f"its base_model is {name!r}, no model of the hub, which refuses such a card",
                where=card,
                fix="name one: export again with export.base_model=owner/name, or edit base_model there",
            )


def push(upload: Upload) -> str:
    """Send it in one commit, making the repository if it is not there; return its address.

    The token is the hub's own: `hf auth login`, or HF_TOKEN. HF_ENDPOINT names a mirror.

    Raises:
        UserError: a card that the hub refuses, no token, no right to write, or no connection.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    check_card(upload.folder)
    if not get_token():
        raise UserError(
            "the hub knows nobody here", fix="run `hf auth login`, or set HF_TOKEN to a token that may write"
        )
    api, name = HfApi(), upload.repository
    try:
        api.create_repo(name, private=not upload.public, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=upload.folder,
            allow_patterns=[file for file, _ in upload.files],
            commit_message=f"{upload.folder.name}: LoRA trained with LoRAKiln",
        )
    except HfHubHTTPError as error:
        fix = "see that the name is right and that your token may write there"
        raise UserError(f"the hub refused: {str(error).splitlines()[0]}", where=name, fix=fix) from error
    except (OSError, ValueError, HTTPError) as error:
        fix = "the folder is whole; try again with `lorakiln push`"
        raise UserError(f"the hub was not reached: {error}", where=name, fix=fix) from error
    return f"{api.endpoint}/{name}"
