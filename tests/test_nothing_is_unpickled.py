"""No file and no message can run code: nothing unpickles, and weights are read as tensors only."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import torch

from alfa.backbone import Backbone
from alfa.errors import BadInput
from alfa.settings import ModelSettings

ROOT = Path(__file__).parent.parent
PACKAGES = ("alfa", "edge")
LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# `pickle.UnpicklingError` may be named: it is what torch says of a file that it refuses.
HARMLESS = {"UnpicklingError"}


def dangerous(tree: ast.AST) -> list[str]:
    """Calls that would run what a file says."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LOADERS:
            found.append(f"from {node.module}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if node.value.id in LOADERS and node.attr not in HARMLESS:
                found.append(name)
        elif isinstance(node, ast.Call):
            found += _call(node)
    return found


def _call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    options = {option.arg: ast.unparse(option.value) for option in node.keywords}
    if name == "torch.load" and options.get("weights_only") != "True":
        return ["torch.load without weights_only=True"]
    if name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
        return ["np.load with allow_pickle"]
    if name in ("eval", "exec", "torch.jit.load", "yaml.load"):
        return [name]
    return []


def test_nothing_in_the_tree_unpickles() -> None:
    """Neither pickle nor its kin, nor torch.load without weights_only."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = {str(path): dangerous(ast.parse(path.read_bytes())) for path in files}
    assert len(found) > 100
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(x)",
        "from pickle import loads",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "eval(x)",
    ],
)
def test_what_is_looked_for_would_be_found(code: str) -> None:
    """So that the test above can fail."""
    assert len(dangerous(ast.parse(code))) == 1


class _Trap:
    """What a hostile file does to whoever unpickles it."""

    def __init__(self, sprung: Path) -> None:
        self._sprung = sprung

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._sprung),)


def test_weights_that_would_run_code_are_refused(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    """A .pt file with more than tensors in it is bad input, and nothing of it has run."""
    trap, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    torch.save({"visual.proj": _Trap(sprung)}, trap)
    with pytest.raises(BadInput, match=r"trap\.pt"):
        Backbone.load(tiny_settings.model_copy(update={"pretrained": str(trap)}))
    assert not sprung.exists()
