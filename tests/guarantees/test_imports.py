"""Imports run one way, so that a reader can learn the house from the bottom up."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastslow

SOURCE = Path(fastslow.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# The floor of each room; a room imports only from its own floor or below. A single file that is not named here helps
# the core: it is on floor 3.
FLOORS = {
    "errors": 0,
    "state": 1,
    "store": 2,
    "memory": 3,
    "core": 3,
    "fast": 4,
    "medium": 4,
    "slow": 4,
    "models": 4,
    "worlds": 4,
    "tiers": 5,
    "sleeping": 6,
    "replay": 7,
    "learner": 8,
    "doctor": 9,
    "fastslow": 9,
    "bench": 10,
    "demo": 11,
    "cli": 12,
}
UNNAMED_FLOOR = 3
# On one floor: what may look at what. Readers and routers are trained on worlds of their own, so a tier may know
# worlds; worlds know no tier.
NEIGHBOURS = {
    ("models", "fast"),
    ("models", "medium"),
    ("models", "slow"),
    ("models", "worlds"),
    ("fast", "worlds"),
    ("medium", "worlds"),
    ("slow", "worlds"),
}


def module_of(path: Path) -> str:
    parts = ["fastslow", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def floor(module: str) -> int:
    return FLOORS.get(room(module), UNNAMED_FLOOR)


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """The modules of fastslow that a module imports, anywhere in its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "fastslow")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: import by the full name"
            if (node.module or "").split(".")[0] == "fastslow":
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    yield submodule if submodule in MODULES else str(node.module)


def faults(module: str, tree: ast.AST) -> list[str]:
    found = []
    here = room(module)
    for other in imports(module, tree):
        there = room(other)
        same_floor = floor(other) == floor(module)
        # the files of floor 3 are one room, apart from the tiers and all that stands on them
        allowed = floor(other) < floor(module) or (
            same_floor and (here == there or floor(module) == 3 or (here, there) in NEIGHBOURS)
        )
        if here == "store" and there not in ("store", "state", "errors"):
            allowed = False
        if not allowed:
            found.append(f"{module} imports {other}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    assert faults(module, ast.parse(MODULES[module].read_text())) == []


def test_no_two_modules_need_each_other() -> None:
    graph = {module: set(imports(module, ast.parse(path.read_text()))) - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert names & {"utils", "util", "helpers", "helper", "common", "misc"} == set()


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("fastslow.fast.a", "from fastslow.medium import pages"),
        ("fastslow.medium.a", "from fastslow.slow.b import x"),
        ("fastslow.slow.a", "import fastslow.fast.b"),
        ("fastslow.store.log", "from fastslow.core import Core"),
        ("fastslow.store.log", "from fastslow import cores"),
        ("fastslow.state", "from fastslow.store import io"),
        ("fastslow.memory", "from fastslow.fast.a import x"),
        ("fastslow.core", "def f():\n    from fastslow.medium.a import x"),
        ("fastslow.worlds.a", "from fastslow.learner import Learner"),
        ("fastslow.worlds.a", "from fastslow.fast.a import x"),
        ("fastslow.fast.a", "from fastslow.models.a import x"),
        ("fastslow.learner", "from fastslow.cli.main import main"),
        ("fastslow.bench.a", "from fastslow.cli.main import main"),
        ("fastslow.learner", "from fastslow import __version__"),
    ],
)
def test_the_check_sees_imports_that_run_the_other_way(module: str, code: str) -> None:
    assert len(faults(module, ast.parse(code))) == 1


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("fastslow.cli.learn", "from fastslow.learner import Learner"),
        ("fastslow.cli.learn", "from fastslow import Learner"),
        ("fastslow.bench.a", "from fastslow.learner import Learner"),
        ("fastslow.learner", "from fastslow.fast.a import x\nfrom fastslow.slow.a import y"),
        ("fastslow.learner", "from fastslow.store import Home"),
        ("fastslow.models.a", "from fastslow.fast.a import x"),
        ("fastslow.medium.a", "from fastslow.worlds.a import x"),
        ("fastslow.fast.a", "from fastslow.core import Core\nfrom fastslow.fast.b import x"),
        ("fastslow.store.snapshots", "from fastslow.state import State\nfrom fastslow.errors import StoreError"),
    ],
)
def test_the_check_lets_the_right_way_pass(module: str, code: str) -> None:
    assert faults(module, ast.parse(code)) == []
