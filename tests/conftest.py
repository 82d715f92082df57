"""What all tests share: hypothesis' profile, a model small enough for tests, commands run in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from alfa.settings import ModelSettings

if TYPE_CHECKING:
    from alfa.backbone import Backbone

# Before torch is imported, and for every process that a test starts: models this small gain nothing from
# threads, and those of several test processes would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is slow, not wrong: pytest's own timeout catches what hangs.
settings.register_profile("project", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest begin first: the others would be done, and wait for them."""
    items.sort(key=_patience_s, reverse=True)


def _patience_s(item: pytest.Item) -> float:
    timeout = item.get_closest_marker("timeout")
    return float(timeout.args[0]) if timeout else 0.0


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A service that ran in this process has sent the log to a stream that is closed with its test."""
    yield
    structlog.reset_defaults()


_TINY_MODEL = "tiny-clip"
# 4 x 3 patches: nothing may rely on a square grid.
_TINY_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": [48, 36], "layers": 2, "width": 32, "head_width": 16, "patch_size": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """Settings that load a tiny model: open_clip builds it, its random weights come from a file."""
    # Imported here: most tests need no model and should not wait for torch.
    import open_clip
    import safetensors.torch
    import torch

    directory = tmp_path_factory.mktemp(_TINY_MODEL)
    config = directory / f"{_TINY_MODEL}.json"
    config.write_text(json.dumps(_TINY_CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(_TINY_MODEL)
    weights = directory / "tiny.safetensors"
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, weights
    )
    return ModelSettings(name=_TINY_MODEL, pretrained=str(weights), device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_settings: ModelSettings) -> Backbone:
    """The tiny model, loaded the way every model is."""
    from alfa.backbone import Backbone

    return Backbone.load(tiny_settings)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a console script's `main` with arguments."""

    def run(main: Callable[[], None], *arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run
