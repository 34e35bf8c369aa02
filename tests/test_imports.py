"""The packages have an order, and no import goes upward in it; no module imports itself by way of others.

Every import counts: those inside functions, which come late for speed's sake, and those for type checkers alone.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path("src")
# From the lowest to the highest. What stands on a line imports lines above it, and nothing beside it.
# docs/pipeline.md says what each is for.
ORDER = [
    ["__init__"],
    ["console"],
    ["libraries"],
    ["artefacts"],
    ["schema"],
    ["facts"],
    ["rows"],
    ["tracking"],
    ["captions", "diffusion", "optim", "serving"],
    ["families"],
    ["sampling"],
    ["adapters"],
    ["lora_files"],
    ["captioners", "metrics", "sources"],
    ["worth"],
    ["prepare", "caption", "encode", "train", "export", "evaluate"],
    ["choose"],
    ["compare", "review", "sweep", "tools"],
    ["chain"],
    ["runs", "doctor"],
    ["cli"],
    ["__main__"],
]
PLACE = {name: place for place, line in enumerate(ORDER) for name in line}


def modules(root: Path) -> dict[str, Path]:
    """The files of `lorakiln` below `root` by their modules' names; a package is its `__init__.py`."""
    found = {}
    for path in sorted((root / "lorakiln").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, module: str, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """What a file imports of `known`, each with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            base = ".".join([*package[: len(package) + 1 - node.level], node.module or ""]).strip(".")
            base = base if node.level else node.module
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
        for name in names:
            parts = name.split(".")
            # "lorakiln.train.train": the module that it is, or the one that the name is taken from.
            inside = next(
                (".".join(parts[:n]) for n in (len(parts), len(parts) - 1) if ".".join(parts[:n]) in known), ""
            )
            if inside:
                yield inside, node.lineno


def package_of(module: str) -> str:
    """The part of the order that a module belongs to: its package's name, or its own right below `lorakiln`."""
    return (module.split(".")[1:] or ["__init__"])[0]


def upward(root: Path) -> list[str]:
    """Every import that leads to the same line of the order, in another package, or to a higher one."""
    known, wrong = modules(root), []
    for module, path in known.items():
        here = package_of(module)
        for other, line in imports(path, module, known):
            there = package_of(other)
            if here != there and PLACE[there] >= PLACE[here]:
                wrong.append(f"{path}:{line}: {here} imports {there}")
    return wrong


def circle(root: Path) -> list[str]:
    """Modules that import each other in turn, the first of them again at the end; empty if there are none."""
    known = modules(root)
    graph = {module: {other for other, _ in imports(path, module, known)} for module, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_package_has_a_place():
    missing = {package_of(module) for module in modules(SRC)} - set(PLACE)
    assert not missing, f"give them a place in ORDER and in docs/pipeline.md: {sorted(missing)}"


def test_no_import_goes_upward():
    assert not (wrong := upward(SRC)), "\n".join(wrong)


def test_no_module_imports_itself_by_way_of_others():
    assert not (found := circle(SRC)), " -> ".join(found)


def test_the_page_has_the_same_order():
    """docs/pipeline.md, "What may import what": a row of its table for each line."""
    page = Path("docs/pipeline.md").read_text().partition("## What may import what\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| `")]
    assert [[name.strip("`") for name in row.split(", ")] for row in rows] == ORDER


@pytest.mark.parametrize(
    "line",
    [
        "from lorakiln.train import train",
        "import lorakiln.train.stage",
        "from lorakiln.train.stage import train",
        "from lorakiln import train",
        "from ..train import stage",
        "def late():\n    from lorakiln.train import train",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lorakiln.train.stage import train",
        'import importlib\nimportlib.import_module("lorakiln.train")',
        "from lorakiln.export import export",  # of the same line
    ],
)
def test_an_import_upward_is_found(tmp_path, line):
    root = tmp_path / "lorakiln"
    for package in ("train", "export", "artefacts"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    (root / "__init__.py").touch()
    (root / "train" / "stage.py").touch()
    file = root / ("train" if "export" in line else "artefacts") / "x.py"
    file.write_text(line + "\n")
    assert [one.partition(":")[0] for one in upward(tmp_path)] == [str(file)]
    file.write_text("from lorakiln.artefacts import y\nimport torch\n")
    assert upward(tmp_path) == []


def test_a_circle_is_found(tmp_path):
    root = tmp_path / "lorakiln" / "train"
    root.mkdir(parents=True)
    (root / "a.py").write_text("from lorakiln.train.b import x\n")
    (root / "b.py").write_text("def late():\n    from lorakiln.train import c\n")
    (root / "c.py").write_text("import torch\n")
    assert circle(tmp_path) == []
    (root / "c.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lorakiln.train import a\n"
    )
    assert set(circle(tmp_path)) == {f"lorakiln.train.{name}" for name in "abc"}
