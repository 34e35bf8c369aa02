"""dvc.yaml lists, for each stage, the code that it imports: no more, no less."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

from lorakiln.artefacts.code_digest import SILENT

STAGES = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
SRC = Path("src")
# Names the settings of all stages: whom they tell of, which changes nothing that a stage makes of its own. `export`
# has all of them: what it leaves out follows from it.
NAMESPACES = "src/lorakiln/schema/whole_config.py"
OWN = ("lorakiln", "pipelines", "hydra_plugins")
# What cannot change a stage's output: rooms, or modules of them, that tell of the work or put things in their place.
EVERYWHERE = (
    "src/lorakiln/__init__.py",
    "src/lorakiln/console/__init__.py",
    "src/lorakiln/artefacts/__init__.py",
    *(
        file.as_posix()
        for name in SILENT
        if name.startswith(("lorakiln.console.", "lorakiln.artefacts."))
        and (file := SRC.joinpath(*name.split(".")).with_suffix(".py"))
    ),
)
SHARED = (
    "src/lorakiln/schema/base.py",
    "src/lorakiln/schema/other_trainers.py",
    "src/lorakiln/schema/marks.py",
    "src/lorakiln/schema/model.py",
    "src/lorakiln/schema/registry.py",
    "src/lorakiln/schema/__init__.py",
    NAMESPACES,
    "pipelines/resolved.py",
    "pipelines/__init__.py",
)


def rooms() -> set[Path]:
    """The folders whose modules are kinds, which the registry imports by name: src/lorakiln/optim, ..."""
    found = set()
    for path in sorted((SRC / "lorakiln").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Registry":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                found.add(SRC / Path(*ast.literal_eval(given["code"]).split(".")))
                if "settings" in given:
                    found.add(path.parent)
    return found


ROOMS = rooms()


@cache
def imported(path: Path) -> frozenset[Path]:
    """The project's own files that a file imports, directly; those of a room's kinds with the room."""
    found = set(path.parent.rglob("*.py")) if path.name == "__init__.py" and path.parent in ROOMS else set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(file for alias in node.names if (file := file_of(alias.name)))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if file := file_of(node.module):
                found.add(file)
            found.update(file for alias in node.names if (file := file_of(f"{node.module}.{alias.name}")))
    return frozenset(found)


def file_of(module: str) -> Path | None:
    base = Path(*module.split("."))
    for root in (Path(), SRC):
        for candidate in (root / base.with_suffix(".py"), root / base / "__init__.py"):
            if module.split(".")[0] in OWN and candidate.is_file():
                return candidate
    return None


def reached(start: Path) -> set[str]:
    """Every file of the project that running `start` loads."""
    seen, todo = set(), [start]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            if file.as_posix() != NAMESPACES or start.stem in ("compose", "export"):
                todo.extend(imported(file))
    return {file.as_posix() for file in seen}


def covers(entry: str, file: str) -> bool:
    return file == entry or file.startswith(entry + "/")


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_code_deps_equal_the_imports(stage):
    code = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "pipelines/"))]
    files = {file for file in reached(Path(f"pipelines/{stage}.py")) if not any(covers(e, file) for e in EVERYWHERE)}
    unlisted = {file for file in files if file not in SHARED and not any(covers(dep, file) for dep in code)}
    idle = [dep for dep in code if not any(covers(dep, file) for file in files)]
    assert not unlisted, f"{stage} imports what dvc.yaml does not list: {sorted(unlisted)}"
    assert not idle, f"{stage} does not import {idle}"


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"compose"}))
def test_params_stay_in_the_stages_namespace(stage):
    (params,) = STAGES[stage]["params"]
    (keys,) = params.values()
    assert {key.split(".")[0] for key in keys} <= {"prepare" if stage == "scan" else stage, "model"}


def test_outputs_persist_and_only_compose_is_outside_the_cache():
    for stage, entry in STAGES.items():
        for out in entry["outs"]:
            (options,) = out.values()
            assert options == {"persist": True} | ({"cache": False} if stage == "compose" else {}), stage
