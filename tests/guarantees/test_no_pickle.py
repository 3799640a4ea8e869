"""Nothing in fastslow runs code from a file, and nothing but `store/io.py` writes one into a home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastslow

SOURCE = Path(fastslow.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# Modules whose loading runs code that the file brings along.
CODE_LOADERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LOADING_CALLS = {"torch.load", "torch.save", "torch.jit.load", "numpy.load", "np.load", "eval", "exec"}

WRITING_CALLS = {"os.replace", "os.rename", "os.write", "os.fdopen", "shutil.copyfile", "shutil.move", "np.save"}
WRITING_METHODS = {"write_text", "write_bytes", "save_file", "touch", "to_csv"}

# io.py is where writing lives. cores.py fills the cache of downloaded cores, several hundred MB in files made by other
# libraries; it holds nothing that a user taught, and every file of it is checked against its sha256.
WRITERS = {"store/io.py", "cores.py"}


def name_of(node: ast.expr) -> str:
    """The dotted name of what is called; a call in between is left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return ""


def loaders(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            imported = []
        for name in imported:
            if name.split(".")[0] in CODE_LOADERS or name in LOADING_CALLS:
                yield f"line {node.lineno} imports {name}"
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in LOADING_CALLS or name.split(".")[0] in CODE_LOADERS:
                yield f"line {node.lineno} calls {name}"
            if any(keyword.arg == "weights_only" for keyword in node.keywords):
                yield f"line {node.lineno} loads a checkpoint that can carry code"
            if any(
                keyword.arg in ("trust_remote_code", "allow_pickle")
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                for keyword in node.keywords
            ):
                yield f"line {node.lineno} may run code that a file brings along"


def writers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in WRITING_CALLS or (method or name) in WRITING_METHODS:
            yield f"line {node.lineno} calls {name or method}"
        if name == "open" or method == "open":
            values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            modes = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
            if any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes):
                yield f"line {node.lineno} opens a file for writing"
        if method == "savefig" and not (node.args and ast.unparse(node.args[0]) == "buffer"):
            yield f"line {node.lineno} saves a picture to a path: save it to a BytesIO called buffer"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_can_bring_code(path: Path) -> None:
    assert list(loaders(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if str(path.relative_to(SOURCE)) not in WRITERS],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_only_io_writes_files(path: Path) -> None:
    assert list(writers(ast.parse(path.read_text()))) == []


def test_the_exceptions_exist() -> None:
    assert all((SOURCE / name).is_file() for name in WRITERS)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "torch.load(path)",
        "from torch import load",
        "eval('1')",
        "exec(code)",
        "something(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
    ],
)
def test_the_check_sees_loaders(code: str) -> None:
    assert list(loaders(ast.parse(code))) != []


@pytest.mark.parametrize(
    "code",
    [
        "open(path, 'w')",
        "open(path, mode='wb')",
        "path.open('a')",
        "Path(x).open('r+')",
        "(folder / 'x').write_text('')",
        "path.write_bytes(b'')",
        "os.replace(a, b)",
        "os.rename(a, b)",
        "save_file(tensors, path)",
        "safetensors.torch.save_file(tensors, path)",
        "figure.savefig(path)",
        "plt.savefig('a/b.png')",
    ],
)
def test_the_check_sees_writers(code: str) -> None:
    assert list(writers(ast.parse(code))) != []


@pytest.mark.parametrize(
    "code",
    ["model.eval()", "open(path)", "path.open('rb')", "safetensors.torch.load(data)", "figure.savefig(buffer)"],
)
def test_the_check_lets_harmless_code_pass(code: str) -> None:
    assert [*loaders(ast.parse(code)), *writers(ast.parse(code))] == []
