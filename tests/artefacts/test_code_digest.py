"""What is made anew after a change of the code, and what is not."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Literal

import pytest

from lorakiln.artefacts import code_digest
from lorakiln.artefacts.code_digest import ROOT, SILENT, Code, compute_code_key, read_code
from lorakiln.artefacts.tensor_files import mapped_tensors
from lorakiln.captioners.blip import BlipCaptioner
from lorakiln.encode.conditioning import encode_captions
from lorakiln.encode.latents import encode_pictures
from lorakiln.evaluate.drawing import ShotDrawer
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.prepare.picture import Preparer
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings
from lorakiln.schema.optimizers.adamw import AdamWSettings
from lorakiln.schema.registry import list_modules
from lorakiln.train.assembly import assemble
from lorakiln.train.resume import capture
from lorakiln.train.stage import train

DECIDING = {
    "prepare": (Preparer,),
    "caption": (BlipCaptioner,),
    "encode": (encode_pictures, encode_captions, mapped_tensors, StableDiffusion),
    "weights": (assemble, capture, StableDiffusion),
    "run": (train, StableDiffusion),
    "draw": (ShotDrawer, StableDiffusion),
}


@pytest.fixture(autouse=True)
def fresh():
    """Nothing of what was read here is left to others."""
    yield
    forget()


def forget():
    for one in (read_code, code_digest._read, code_digest._rooms_of, code_digest._version):
        one.cache_clear()


@pytest.fixture
def package(tmp_path):
    """A copy of the package, whose files tests edit."""
    root = tmp_path / "lorakiln"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def read(root: Path, *deciding: object) -> Code:
    forget()
    return read_code(tuple(one.__module__ for one in deciding), root)


def read_all(root: Path) -> dict[str, Code]:
    """What decides each content; every file is read once."""
    forget()
    return {name: read_code(tuple(one.__module__ for one in deciding), root) for name, deciding in DECIDING.items()}


def edit(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))


def changed(root: Path, *edits: tuple[str, str, str]) -> set[str]:
    """The deciding functions whose code is another after the edits."""
    before = read_all(root)
    for one in edits:
        edit(root, *one)
    return {name for name, code in read_all(root).items() if code.digest != before[name].digest}


def test_a_copy_is_the_same_code(package):
    assert read_all(package) == read_all(ROOT)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        # The nearest bucket becomes the farthest.
        ([("prepare/buckets.py", "return min(", "return max(")], {"prepare"}),
        ([("prepare/buckets.py", "\nfrom ", "\n# A comment, and room.\n\n\nfrom ")], set()),
        ([("prepare/buckets.py", '"""', '"""Otherwise said. ')], set()),
        # Another stage, what tells of the work, and what only a type checker reads.
        ([("prepare/stage.py", "LISTED", "LISTED2")], set()),
        ([("console/progress.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")], set()),
        ([("console/errors.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")], set()),
        ([("schema/train.py", "optimizer steps", "steps of the optimizer")], set()),
        ([("sweep/jobs.py", "finished", "done")], set()),
        # Rooms that all stages share are no exception.
        (
            [("artefacts/tensor_files.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")],
            {"encode", "weights", "run", "draw"},
        ),
        (
            [("console/memory.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")],
            {"caption", "encode", "weights", "run", "draw"},
        ),
        ([("artefacts/hashing.py", "ensure_ascii=False", "ensure_ascii=True")], set(DECIDING)),
        (
            [("families/sd/model.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")],
            {"encode", "weights", "run", "draw"},
        ),
        ([("families/sdxl/model.py", "\ndef ", "\ndef other():\n    pass\n\n\ndef ")], set()),
    ],
)
def test_what_behaves_otherwise_is_other_code_and_nothing_else_is(package, edits, expected):
    assert changed(package, *edits) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(a):\n    return a + 1\n", True),
        ('"""Of it."""\n\ndef f(\n    a,\n):\n    "What it does."\n    return (a + 1)  # one more\n', True),
        ("def f(a):\n    return a + 2\n", False),
        ("def f(b):\n    return b + 1\n", False),
        ("def f(a):\n    return a + 1.0\n", False),
        ("def f(a):\n    return None\n", False),
        ('def f(a):\n    b = "What it does."\n    return a + 1\n', False),
    ],
)
def test_the_syntax_counts(package, text, same):
    entry = "lorakiln.artefacts.written_here"
    digests = []
    for content in ("def f(a):\n    return a + 1\n", text):
        (package / "artefacts/written_here.py").write_text(content)
        digests.append(read(package, SimpleNamespace(__module__=entry)).digest)
    assert (digests[0] == digests[1]) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a + 1", "a - 1"),
        ("a + 1", 'a + "1"'),
        ("a < 1", "a <= 1"),
        ("a.b", "a.c"),
        ("a[1:]", "a[:1]"),
        ("f(b=a)", "f(c=a)"),
        ("f(a, b)", "f(b, a)"),
        ("lambda a=1: a", "lambda a=2: a"),
        ("lambda a, b=1: a", "lambda a, *, b=1: a"),
        ("[[a], b]", "[a, [b]]"),
        ("a if b else c", "c if b else a"),
        ('f"{a}"', 'f"{a!r}"'),
    ],
)
def test_expressions_that_come_to_something_else_are_told_apart(tmp_path, one, other):
    digests = [_digest_of(tmp_path, f"x = {text}\n") for text in (one, f"({one})", other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    g(a)\n    return a\n", "def f(a):\n    return a\n"),
        ("@one\ndef f(): ...\n", "@two\ndef f(): ...\n"),
        ("for a in b:\n    f()\nelse:\n    g()\n", "for a in b:\n    f()\n    g()\n"),
        ("try:\n    f()\nfinally:\n    g()\n", "try:\n    f()\nexcept A:\n    g()\n"),
        ("class A(B): ...\n", "class A(C): ...\n"),
        ("f()\ng()\n", "g()\nf()\n"),
        ("if a:\n    f()\n    g()\n", "if a:\n    f()\ng()\n"),
    ],
)
def test_statements_that_do_something_else_are_told_apart(tmp_path, one, other):
    assert _digest_of(tmp_path, one) != _digest_of(tmp_path, other)


def _digest_of(root: Path, text: str) -> str:
    (root / "written.py").write_text(text)
    return read(root, SimpleNamespace(__module__="lorakiln.written")).digest


def test_a_body_of_nothing_but_a_docstring_and_a_return_without_a_value_are_read(package):
    (package / "artefacts/written_here.py").write_text('class A:\n    """Nothing."""\n\n\ndef f():\n    return\n')
    assert read(package, SimpleNamespace(__module__="lorakiln.artefacts.written_here")).digest


def test_imports_are_followed_from_inside_of_functions_and_not_for_a_type_checker(package):
    names = ("inside", "typed", "relative", "silent")
    (package / "artefacts/written_here.py").write_text(
        "from typing import TYPE_CHECKING\n\n"
        "if TYPE_CHECKING:\n    from lorakiln.artefacts.typed import A\n\n\n"
        "def f():\n    from lorakiln.artefacts.inside import B\n    from . import relative\n"
        "    import lorakiln.schema.train\n"
    )
    for name in names:
        (package / f"artefacts/{name}.py").write_text(f"import {name}_library\n")
    code = read(package, SimpleNamespace(__module__="lorakiln.artefacts.written_here"))
    assert code.modules == tuple(f"lorakiln.artefacts.{name}" for name in ("inside", "relative", "written_here"))
    assert code.libraries == {"inside_library": "absent", "relative_library": "absent"}


def test_imports_are_followed_from_every_branch_that_runs(tmp_path):
    """Of silent modules the name counts as a whole: `disk_maps` is not `disk`."""
    (tmp_path / "artefacts").mkdir()
    names = ("at_runtime", "caught", "disk_maps", "matched", "otherwise", "whole")
    for name in (*names, "typed", "disk"):
        (tmp_path / f"artefacts/{name}.py").write_text("")
    (tmp_path / "branches.py").write_text(
        "import typing\n"
        "import lorakiln.artefacts.whole\n"
        "from lorakiln.artefacts import disk, disk_maps\n\n"
        "if typing.TYPE_CHECKING:\n    import lorakiln.artefacts.typed\n"
        "else:\n    import lorakiln.artefacts.at_runtime\n"
        "try:\n    f()\nexcept ImportError:\n    from lorakiln.artefacts import caught\n"
        "match f:\n    case 1:\n        from lorakiln.artefacts import matched\n"
        "if f:\n    pass\nelse:\n    from lorakiln.artefacts.otherwise import g\n"
    )
    code = read(tmp_path, SimpleNamespace(__module__="lorakiln.branches"))
    assert code.modules == (*(f"lorakiln.artefacts.{name}" for name in names), "lorakiln.branches")


def test_which_module_has_which_code_counts(tmp_path):
    for name in ("all", "one", "two"):
        (tmp_path / f"{name}.py").write_text("from lorakiln import one, two\n" if name == "all" else f"f = '{name}'\n")
    before = read(tmp_path, SimpleNamespace(__module__="lorakiln.all"))
    (tmp_path / "one.py").rename(tmp_path / "kept.py")
    (tmp_path / "two.py").rename(tmp_path / "one.py")
    (tmp_path / "kept.py").rename(tmp_path / "two.py")
    after = read(tmp_path, SimpleNamespace(__module__="lorakiln.all"))
    assert after.modules == before.modules == ("lorakiln.all", "lorakiln.one", "lorakiln.two")
    assert after.digest != before.digest


def test_libraries_that_decide_count_and_others_do_not(monkeypatch):
    asked = {name: code.libraries for name, code in read_all(ROOT).items()}
    assert asked["prepare"].keys() == {"pillow", "pillow-heif", "simplejpeg", "numpy"}
    network = {"torch", "transformers", "tokenizers", "pillow", "numpy"}
    assert network - {"numpy"} <= asked["caption"].keys() <= network
    assert asked["encode"].keys() == network | {"diffusers"}
    for name in ("weights", "run", "draw"):
        assert asked[name].keys() == network | {"diffusers", "peft"}, name
    for name in ("lightning", "rich", "wandb", "pydantic", "safetensors", "omegaconf", "hydra"):
        assert not [one for one in DECIDING if name in asked[one]], name
    before, version = compute_code_key(Preparer), importlib.metadata.version
    upgraded = {"pillow": "99"}
    monkeypatch.setattr(code_digest, "version", lambda name: upgraded.get(name) or version(name))
    assert read(ROOT, Preparer).libraries["pillow"] == "99"
    assert compute_code_key(Preparer) != before
    del upgraded["pillow"]
    upgraded["torch"] = "99"
    read(ROOT, Preparer)
    assert compute_code_key(Preparer) == before


class SignSettings(OptimizerSettings):
    kind: Literal["sign"] = "sign"


def test_the_kind_in_use_counts_and_no_other():
    assert list_modules(AdamWSettings(lr=1e-4), EncodeSettings()) == ["lorakiln.optim.adamw"]
    kinds = ModuleType("tests.others_kind")
    for kind, modules in ((kinds, [__name__, "tests.others_kind"]), (SimpleNamespace(), [__name__])):
        OPTIMIZERS.add("sign", kind, SignSettings)
        try:
            assert list_modules(SignSettings(lr=1e-4)) == modules
        finally:
            OPTIMIZERS.remove("sign")


ROOM = {
    "schema/sorts/__init__.py": 'SORTS: Registry = Registry("sort", code="lorakiln.sorts", settings=__name__)\n',
    "sorts/__init__.py": "",
    "sorts/one.py": "value = 1\n",
    "sorts/two/__init__.py": "from lorakiln.sorts.two.maths import value\n",
    "sorts/two/maths.py": "value = 2\n",
    "written_here.py": "from lorakiln.schema.sorts import SORTS\n\n\ndef f(name):\n    return SORTS.find(name)\n",
}


@pytest.mark.parametrize("place", ["schema/sorts", "rooms"])
def test_where_no_kind_is_named_all_that_can_be_found_count(package, place):
    for file, text in ROOM.items():
        path = package / file.replace("schema/sorts", place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("schema.sorts", place.replace("/", ".")))
    user, one = (SimpleNamespace(__module__=f"lorakiln.{name}") for name in ("written_here", "sorts.one"))
    kinds = {"lorakiln.sorts.one", "lorakiln.sorts.two", "lorakiln.sorts.two.maths"}
    assert {name for name in read(package, user).modules if ".sorts." in name} >= kinds
    assert {name for name in read(package, user, one).modules if name in kinds} == {"lorakiln.sorts.one"}


def test_a_kind_of_another_package_counts_with_what_it_imports_there(tmp_path, monkeypatch):
    folder = tmp_path / "others_package"
    folder.mkdir()
    for name, text in (("__init__", ""), ("kind", "from others_package.maths import f\n"), ("maths", "f = 1\n")):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    entry = SimpleNamespace(__module__="others_package.kind")
    before = read(ROOT, entry)
    assert before.modules == ("others_package.kind", "others_package.maths")
    (folder / "maths.py").write_text("f = 2\n")
    assert read(ROOT, entry).digest != before.digest
    # What was made up while it ran has a name alone.
    assert read(ROOT, SimpleNamespace(__module__="made_up_here")).modules == ("made_up_here",)


def test_what_cannot_decide_is_there():
    for name in SILENT:
        assert code_digest._file_of(name, ROOT), f"{name} of SILENT is no module of this package"


def test_it_takes_no_time():
    program = (
        "import time\nfrom lorakiln.artefacts.code_digest import read_code\nbegan = time.process_time()\n"
        "code = read_code(('lorakiln.train.stage',))\nprint(len(code.modules), time.process_time() - began)"
    )
    modules, seconds = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert int(modules) > 50 and float(seconds) < 1  # 0.2 s where nothing else runs


def test_an_installed_package_is_read_from_where_it_is(package):
    program = (
        "import lorakiln\nfrom lorakiln.artefacts.code_digest import read_code\n"
        "print(lorakiln.__file__, read_code(('lorakiln.prepare.picture',)).digest)"
    )
    file, digest = subprocess.check_output(
        [sys.executable, "-c", program], text=True, env={"PYTHONPATH": str(package.parent)}
    ).split()
    assert Path(file).parent == package and digest == read(ROOT, Preparer).digest
