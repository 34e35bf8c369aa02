"""What several modules need stands in one of them: no function and no constant is written twice."""

import ast
from collections import defaultdict
from pathlib import Path

LETTERS = 20  # shorter ones may be equal by chance
# Names of the tensors in a file of latents: its writer and its reader state them, and tests read what was written.
APART = {"('latent_mean', 'latent_std')"}


def written_twice(root: Path) -> list[str]:
    """Kinds of one sort, side by side in one package, may answer alike by functions of the same name."""
    homes = defaultdict(dict)
    for path in sorted(root.rglob("*.py")):
        package = path.relative_to(root).parts[:2]
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):
                name = ast.unparse(node.targets[0])
                place = (path, name) if name != "__all__" else ()
                homes[ast.unparse(node.value)][place] = f"{path}: {name}"
            elif isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                place = (package, node.name)
                homes["\n".join(map(ast.unparse, body))].setdefault(place, f"{path}: {node.name}")
    return [
        " and ".join(places.values())
        for text, places in homes.items()
        if len(places) > 1 and len(text) > LETTERS and text not in APART
    ]


def test_every_function_and_constant_has_one_home():
    assert not (found := written_twice(Path("src"))), "\n".join(found)


def test_what_stands_twice_is_found(tmp_path):
    (tmp_path / "a.py").write_text('ENDINGS = (".ckpt", ".pt", ".bin")\n')
    (tmp_path / "b.py").write_text('def sides(shape):\n    """Of it."""\n    return [n for n in shape if n != 1]\n')
    assert written_twice(tmp_path) == []
    (tmp_path / "c.py").write_text((tmp_path / "a.py").read_text().replace("ENDINGS", "PICKLES"))
    (tmp_path / "d.py").write_text("def _sides(shape):\n    return [n for n in shape if n != 1]\n")
    assert len(written_twice(tmp_path)) == 2


def test_kinds_of_one_sort_may_answer_alike(tmp_path):
    for folder in ("adapters", "tools"):
        (tmp_path / "lorakiln" / folder).mkdir(parents=True)
    for place in ("adapters/oft.py", "adapters/boft.py"):
        (tmp_path / "lorakiln" / place).write_text("def claim(tensors):\n    return by_endings(tensors, ENDINGS)\n")
    assert written_twice(tmp_path) == []
    (tmp_path / "lorakiln" / "tools" / "x.py").write_text((tmp_path / "lorakiln" / place).read_text())
    assert len(written_twice(tmp_path)) == 1
