"""The project's habits that no linter knows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for room in ("anerf", "actors", "serve_apps", "cluster", "tests")
    for path in (ROOT / room).rglob("*.py")
)
MAX_LINES = 400
# They write what the older system wrote, and worse, to test the reader that must not unpickle it.
WRITE_TENSOR_FILES = {ROOT / "tests/scene/conftest.py", ROOT / "tests/scene/test_broken_inputs.py"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_one_idea(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{n_lines} lines: split it by ideas"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_pickled(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called != "torch.save" or path in WRITE_TENSOR_FILES, (
                "torch.save pickles: write safetensors"
            )
            assert called != "torch.load" or keywords.get("weights_only") == "True"
            assert called not in ("np.load", "numpy.load") or keywords.get("allow_pickle") == "False"
            continue
        else:
            continue
        assert not names & UNPICKLERS
