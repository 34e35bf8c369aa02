"""The code that decides a content, as a key: what behaves otherwise makes another one, and nothing else does.

What counts is the syntax, without comments, docstrings and layout, of the modules that decide, of what they import
of their own package, and the versions of the libraries that these import. A stage names the modules where its
deciding functions are; of kinds that are found by name the one in use is named with them, else all of them count.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from lorakiln.artefacts.hashing import hash_data

OWN = "lorakiln"
ROOT = Path(__file__).parents[1]
# Modules, or packages of them, that cannot decide what is made: they check settings, whose values are in every key;
# they say which function is called, tell of the work, look whether there is room for it or need of it, put what was
# made in its place; they record it elsewhere.
SILENT = (
    "lorakiln.chain",
    "lorakiln.schema",
    "lorakiln.console.counts",
    "lorakiln.console.exit_signals",
    "lorakiln.console.errors",
    "lorakiln.console.orphans",
    "lorakiln.console.process_pool",
    "lorakiln.console.progress",
    "lorakiln.console.terminal_text",
    "lorakiln.artefacts.atomic_file",
    "lorakiln.artefacts.code_digest",
    "lorakiln.artefacts.disk",
    "lorakiln.artefacts.dvc_cache",
    "lorakiln.artefacts.folders",
    "lorakiln.artefacts.output_record",
    "lorakiln.artefacts.partial_results",
    "lorakiln.artefacts.fsync",
    "lorakiln.artefacts.dvc_pointers",
    "lorakiln.families.tensor_memory",
    "lorakiln.tracking",
    "lorakiln.train.memory_count",
    "lorakiln.train.plan",
    "lorakiln.train.memory_fit",
    "lorakiln.tools.dataset_page",
)
# The same of libraries: they read and write files whose content others decide, fetch, check, draw tables, call us.
SILENT_LIBRARIES = {
    "filelock",
    "huggingface_hub",
    "jinja2",
    "lightning",
    "lightning_utilities",
    "pydantic",
    "pydantic_core",
    "rich",
    "safetensors",
    "wandb",
    "yaml",
}
# What is called otherwise where it is installed, and what decides through another.
DISTRIBUTIONS = {"PIL": ("pillow",), "pillow_heif": ("pillow-heif",), "transformers": ("transformers", "tokenizers")}


class Code(NamedTuple):
    """What decides.

    Attributes:
        digest: of all modules, 16 hex digits.
        modules: their names, sorted.
        libraries: versions by the name under which each is installed; "absent" where it is not.
    """

    digest: str
    modules: tuple[str, ...]
    libraries: dict[str, str]


def compute_code_key(*deciding: object) -> str:
    """16 hex digits for the code of deciding functions or classes, or of modules by their names; see `read_code`."""
    code = find_code(*deciding)
    return hash_data(code.digest, code.libraries)[:16]


def find_code(*deciding: object) -> Code:
    """See `compute_code_key`."""
    return read_code(tuple(one if isinstance(one, str) else str(one.__module__) for one in deciding))


@cache
def read_code(entries: tuple[str, ...], root: Path = ROOT) -> Code:
    """The code that begins at some modules.

    Args:
        entries: modules' full names; what they import of the package that they are in counts, from wherever in them.
            The modules of kinds that other packages add may be among them.
        root: the folder of this package's own modules.
    """
    found: dict[str, _Module] = {}
    todo = list(entries)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        path = _file_of(name, root)
        # Of what was made up while it ran there is a name alone.
        found[name] = _read(path, name, root) if path else _Module(name, (), frozenset(), frozenset())
        todo.extend(found[name].imports)
        for room in found[name].rooms:
            if not any(entry.startswith(f"{room}.") for entry in entries):
                todo.extend(_kinds(room, root))
    libraries = sorted({library for module in found.values() for library in module.libraries})
    names = [one for library in libraries for one in DISTRIBUTIONS.get(library, (library,))]
    digest = hash_data(sorted((name, module.digest) for name, module in found.items()))[:16]
    return Code(digest, tuple(sorted(found)), {name: _version(name) for name in names})


class _Module(NamedTuple):
    digest: str
    imports: tuple[str, ...]
    libraries: frozenset[str]
    rooms: frozenset[str]  # packages in which it finds kinds by name


@cache
def _read(path: Path, name: str, root: Path) -> _Module:
    tree = ast.parse(path.read_bytes())
    own: dict[str, None] = {}
    libraries: set[str] = set()
    rooms = set(_rooms_in(tree).values())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for imported in _imported(tree, package):
        top = imported[0].partition(".")[0]
        if top in (OWN, name.partition(".")[0]):
            target = next((one for one in imported if _file_of(one, root)), None)
            if target and not any(target == one or target.startswith(f"{one}.") for one in SILENT):
                own[target] = None
            elif target and target != imported[0]:  # a name in a module that is not followed: that of a registry?
                defined = _rooms_of(_file_of(target, root))
                rooms.update(room for kind, room in defined.items() if imported[0] == f"{target}.{kind}")
        elif top not in sys.stdlib_module_names and top not in SILENT_LIBRARIES:
            libraries.add(top)
    return _Module(_digest(tree), tuple(own), frozenset(libraries), frozenset(rooms))


@cache
def _rooms_of(path: Path) -> dict[str, str]:
    return _rooms_in(ast.parse(path.read_bytes()))


def _rooms_in(tree: ast.Module) -> dict[str, str]:
    """Registries that a module defines, `NAME = Registry(..., code="lorakiln.optim")`: by name the package of kinds."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            code = {one.arg: getattr(one.value, "value", None) for one in node.value.keywords}.get("code")
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(code, str) and code.startswith(f"{OWN}.") and isinstance(target, ast.Name):
                found[target.id] = code
    return found


def _kinds(room: str, root: Path) -> list[str]:
    folder = root.joinpath(*room.split(".")[1:])
    names = sorted(
        path.stem for path in folder.glob("[!_]*") if path.suffix == ".py" or (path / "__init__.py").exists()
    )
    return [f"{room}.{name}" for name in names]


def _imported(tree: ast.AST, package: str) -> Iterator[tuple[str, ...]]:
    """Of each import what may be meant, the first that there is: a module of the name, or a name in a module."""
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", module) for alias in node.names)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements of a tree but what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (
            getattr(node.test, "id", ""),
            getattr(node.test, "attr", ""),
        ):
            yield from _nodes(ast.Module(node.orelse, []))
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield node
            yield from _nodes(node)


def _file_of(module: str, root: Path) -> Path | None:
    """The file of a module of this package below `root`, of another one where it is installed; None: there is none."""
    first, *rest = module.split(".")
    if first != OWN:
        try:
            spec = importlib.util.find_spec(module)
        except (ModuleNotFoundError, ValueError):  # its package is a module; or it is __main__
            return None
        return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
    for path in (root.joinpath(*rest).with_suffix(".py") if rest else root, root.joinpath(*rest, "__init__.py")):
        if path.is_file():
            return path
    return None


def _digest(tree: ast.Module) -> str:
    """Of the syntax alone; the same for every version of Python that reads it so."""
    parts: list[str] = []
    _spell(tree, parts.append)
    return hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _spell(node: object, write: Callable[[str], None]) -> None:
    if isinstance(node, ast.AST):
        write(type(node).__name__)
        write("(")
        for name in node._fields:
            value = getattr(node, name, None)
            # What a later Python adds to a kind of node is empty for what an earlier one reads too; `ctx` follows from
            # the place.
            if value is None or value == [] or name == "ctx":
                continue
            write(name)
            write("=")
            _spell(_without_docstring(node, value) if name == "body" else value, write)
        write(")")
    elif isinstance(node, list):
        for one in node:
            _spell(one, write)
            write(",")
    else:
        write(repr(node))


def _without_docstring(node: ast.AST, body: object) -> object:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and isinstance(body, list):
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return body[1:]
    return body


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"
