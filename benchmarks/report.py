"""The comparison as tables for a person and as JSON for everything else."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from alfa.backbone import Backbone
from alfa.evaluation.datasets import Dataset
from alfa.settings import ModelSettings
from benchmarks.comparison import Plan
from benchmarks.peers.winclip import CLIP_TEMPERATURE
from benchmarks.summary import Row, Spread, over_sets

SHOWN = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pro": "PRO"}


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set and how the methods did on it.

    Attributes:
        dataset: what was judged.
        prompts: name of the prompt file.
        prompts_hash: its content.
        class_name: what the part is called, for WinCLIP's prompts too.
        seconds: that the set took.
        rows: the methods.
    """

    dataset: Dataset
    prompts: str
    prompts_hash: str
    class_name: str
    seconds: float
    rows: tuple[Row, ...]


def means(reports: Sequence[SetReport]) -> dict[str, list[Row]]:
    """Folder of sets -> mean rows; sets that a model was trained on must not be averaged with others."""
    folders: dict[str, dict[str, Sequence[Row]]] = {}
    for report in reports:
        folder = report.dataset.directory.resolve().parent.name
        folders.setdefault(folder, {})[report.dataset.name] = report.rows
    return {
        f"mean of {len(sets)} sets in {folder}": over_sets(sets)
        for folder, sets in folders.items()
        if len(sets) > 1
    }


def set_title(report: SetReport) -> str:
    """Name, counts and words of a set."""
    dataset = report.dataset
    counts = f"{dataset.good} good, {dataset.defective} defective"
    return f"{dataset.name}: {counts}, prompts {report.prompts}, called {report.class_name!r}"


def table(title: str, rows: Sequence[Row]) -> Table:
    """Percent with one decimal; the deviation is over seeds."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("method")
    shown.add_column("shots", justify="right")
    for name in SHOWN.values():
        shown.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: row.shots):
        shown.add_row(row.method, str(row.shots), *(_cell(row.metrics.get(name)) for name in SHOWN))
    return shown


def document(
    reports: Sequence[SetReport],
    backbone: Backbone,
    settings: ModelSettings,
    plan: Plan,
    command: Sequence[str],
) -> dict[str, Any]:
    """Everything that was measured and what it takes to measure it again."""
    return {
        "command": shlex.join(["python", *command]),
        "machine": machine(backbone),
        "model": {
            "id": backbone.model_id,
            "weights_hash": backbone.weights_hash,
            "preprocess_hash": backbone.preprocess_hash,
            "grid": asdict(backbone.grid),
            "settings": settings.model_dump(mode="json"),
        },
        "temperature": {"ALFA": settings.temperature, "WinCLIP": [CLIP_TEMPERATURE, settings.temperature]},
        "plan": asdict(plan),
        "sets": {report.dataset.name: _set(report) for report in reports},
        "means": {title: [asdict(row) for row in rows] for title, rows in means(reports).items()},
    }


def machine(backbone: Backbone) -> dict[str, Any]:
    """What the figures were measured on."""
    device = backbone.device
    return {
        "system": platform.system(),
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(backbone.dtype).removeprefix("torch."),
    }


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _set(report: SetReport) -> Mapping[str, Any]:
    return {
        "folder": report.dataset.directory.resolve().parent.name,
        "good": report.dataset.good,
        "defective": report.dataset.defective,
        "masks": sum(image.mask_path is not None for image in report.dataset.test),
        "prompts": report.prompts,
        "prompts_hash": report.prompts_hash,
        "class": report.class_name,
        "seconds": round(report.seconds, 1),
        "rows": [asdict(row) for row in report.rows],
    }


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    mean = f"{100 * spread.mean:.1f}"
    return mean if len(spread.values) == 1 else f"{mean} ± {100 * spread.std:.1f}"
