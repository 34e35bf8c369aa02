"""The digests that dvc.yaml's stages depend on hold the code that they import, but for what cannot decide."""

import ast
from functools import cache
from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from lorakiln import chain
from lorakiln.artefacts.code_digest import SILENT, find_code
from lorakiln.chain import CHAIN, list_settings_modules
from lorakiln.schema.registry import list_modules
from lorakiln.schema.whole_config import check_whole
from pipelines.compose import compose_config

STAGES = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
SRC = Path("src")
OWN = ("lorakiln", "pipelines", "hydra_plugins")
NAMES = [stage.name for stage in CHAIN]
# Starts a stage: which of the config's parts it takes is in DVC's own comparison.
STARTS = ("pipelines.resolved",)


def rooms() -> set[str]:
    """The packages whose modules are kinds, which the registry imports by name: lorakiln.optim, ..."""
    found = set()
    for path in sorted((SRC / "lorakiln").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "Registry(" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Registry":
                found.update(ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg == "code")
    return found


ROOMS = rooms()


def file_of(module: str) -> Path | None:
    base = Path(*module.split("."))
    for root in (Path(), SRC):
        for candidate in (root / base.with_suffix(".py"), root / base / "__init__.py"):
            if module.split(".")[0] in OWN and candidate.is_file():
                return candidate
    return None


@cache
def imported(module: str) -> frozenset[str]:
    """The project's own modules that one imports, directly."""
    found = set()
    for node in ast.walk(ast.parse(file_of(module).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return frozenset(name for name in found if file_of(name))


def reached(*starts: str) -> set[str]:
    """Every module of the project that running these loads, but for what only such load that cannot decide."""
    seen, todo = set(), list(starts)
    while todo:
        module = todo.pop()
        if module not in seen and not silent(module):
            seen.add(module)
            todo.extend(imported(module))
    return seen


def silent(module: str) -> bool:
    return module in STARTS or any(module == one or module.startswith(f"{one}.") for one in SILENT)


def says_nothing(module: str) -> bool:
    """Whether there is a docstring alone in it."""
    return not ast.parse(file_of(module).read_text()).body[1:]


@pytest.mark.parametrize("experiment", ["demo_style", "smoke", "character_r16"])
@pytest.mark.parametrize("stage", CHAIN, ids=NAMES)
def test_a_digest_holds_what_the_stage_imports(stage, experiment):
    config = check_whole(compose_config([f"+experiment={experiment}"]))
    chosen = [attrgetter(name)(config) for name in stage.settings]
    starts = (stage.module, f"pipelines.{stage.name}", *list_modules(*chosen))
    held = set(find_code(*starts, *list_settings_modules(*chosen)).modules)
    wanted = {module for module in reached(*starts) if not says_nothing(module)}
    assert not (missing := wanted - held), f"{stage.name}: {sorted(missing)}"
    # Those of kinds that are in use, and not of others.
    kinds = {module for module in list_modules(*chosen) if module.startswith("lorakiln.")}
    assert kinds <= held and f"lorakiln.{stage.name}.stage" in held


def test_a_kind_that_is_not_in_use_is_not_in_the_digest_and_a_family_always_is():
    config = check_whole(compose_config(["+experiment=smoke", "train/scheduler=cosine"]))
    train = next(stage for stage in CHAIN if stage.name == "train")
    held = set(find_code(train.module, *list_modules(config.train, config.model)).modules)
    assert {"lorakiln.optim.schedules.cosine", "lorakiln.optim.adamw", "lorakiln.adapters.lora"} <= held
    assert not {"lorakiln.optim.schedules.linear", "lorakiln.adapters.loha", "lorakiln.diffusion.losses.huber"} & held
    assert {"lorakiln.families.sd.model", "lorakiln.families.sdxl.model"} <= held


def test_what_settings_say_of_themselves_is_in_the_digest(monkeypatch):
    """It decides what keys hold; of all settings what an export leaves out."""
    asked = {}
    config = check_whole(compose_config(["+experiment=smoke"]))
    for stage in CHAIN:
        monkeypatch.setattr(
            chain, "find_code", lambda *names, name=stage.name: asked.update({name: set(names)}) or find_code(*names)
        )
        chain.compute_stage_code(stage, config, f"pipelines.{stage.name}")
    for name, names in asked.items():
        assert {f"pipelines.{name}", f"lorakiln.{name}.stage", "lorakiln.schema.marks", "lorakiln.schema.base"} <= names
    train = {"lorakiln.schema.train", "lorakiln.schema.optimizers", "lorakiln.schema.optimizers.adamw"}
    assert train <= asked["train"] & asked["export"] and not train & asked["evaluate"]
    assert "lorakiln.schema.evaluate" in asked["export"] - asked["train"]


@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_depends_on_its_digest_and_on_what_else_it_reads_of_the_program(stage):
    """Code is in the digest; what is no code, such as a template of the report, is named."""
    own = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "pipelines/", "outputs/.code/"))]
    held = {
        path.parent for path in (SRC / "lorakiln").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    others = {path.as_posix() for path in held if path.is_relative_to(SRC / "lorakiln" / stage)}
    assert set(own) == {f"outputs/.code/{stage}", *others}


def test_compose_writes_the_digests_of_all_whatever_code_has_changed():
    made = [next(iter(out)) for out in STAGES["compose"]["outs"]]
    assert [name for name in made if "/.code/" in name] == [f"outputs/.code/{stage}" for stage in NAMES]
    assert {"src/lorakiln", "pipelines", "conf"} <= set(STAGES["compose"]["deps"])
    packages = {module.rpartition(".")[0] for module in imported("pipelines.compose") if module.startswith("hydra_")}
    assert {f"src/{name.replace('.', '/')}" for name in packages} <= set(STAGES["compose"]["deps"])


@pytest.mark.parametrize("stage", NAMES)
def test_params_stay_in_the_stages_namespace(stage):
    (params,) = STAGES[stage]["params"]
    (keys,) = params.values()
    assert {key.split(".")[0] for key in keys} <= {
        stage,
        "model",
        *({"evaluate"} if stage == "choose" else ()),
    }  # it draws as evaluate does


def test_outputs_persist_and_only_compose_is_outside_the_cache():
    for stage, entry in STAGES.items():
        for out in entry["outs"]:
            (options,) = out.values()
            assert options == {"persist": True} | ({"cache": False} if stage == "compose" else {}), stage
