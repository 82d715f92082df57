"""The comparison as tables for a person and as JSON for everything else."""

from __future__ import annotations

import os
import platform
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from alfa.backbone import Backbone
from alfa.evaluation.protocol import METRICS, WHOLE, ClassResult, Row, mean_over_classes
from alfa.evaluation.report import HEADINGS, figure_text
from alfa.settings import ModelSettings
from benchmarks.quality.peers.winclip import CLIP_TEMPERATURE

SHOWN = ("image_auroc", "pixel_auroc", "pixel_pro")


@dataclass(frozen=True, slots=True, eq=False)
class SetReport:
    """One set and how the contenders did on it.

    Attributes:
        result: counts and figures.
        prompts: name of the prompt file.
        prompts_hash: its content.
        class_name: what the part is called, in WinCLIP's prompts too.
        seconds: that the set took.
    """

    result: ClassResult
    prompts: str
    prompts_hash: str
    class_name: str
    seconds: float

    @property
    def name(self) -> str:
        """Of the set."""
        return self.result.dataset.name

    @property
    def folder(self) -> str:
        """Of the folder that the set lies in."""
        return self.result.dataset.directory.resolve().parent.name


@dataclass(frozen=True, slots=True)
class Run:
    """What all sets were measured with.

    Attributes:
        command: the arguments as typed, the script first.
        backbone: the model of all contenders.
        settings: ALFA's numbers.
        shots: numbers of taught images.
        seeds: choices of them.
        limit: of test images a set, where one was given.
    """

    command: tuple[str, ...]
    backbone: Backbone
    settings: ModelSettings
    shots: tuple[int, ...]
    seeds: int
    limit: int | None


def means(reports: Sequence[SetReport]) -> dict[str, tuple[Row, ...]]:
    """Title -> mean rows, folder by folder: sets a model was trained on say something else than others."""
    folders: defaultdict[str, list[ClassResult]] = defaultdict(list)
    for report in reports:
        folders[report.folder].append(report.result)
    return {
        f"mean of {len(results)} sets in {folder}": mean_over_classes(results)
        for folder, results in folders.items()
        if len(results) > 1
    }


def title(report: SetReport) -> str:
    """Name, counts and words of a set."""
    dataset = report.result.dataset
    counts = f"{dataset.good} good, {dataset.defective} defective, {report.result.masks} masks"
    return f"{report.name}: {counts}; prompts {report.prompts}, called {report.class_name!r}"


def table(heading: str, rows: Iterable[Row]) -> Table:
    """Image AUROC, pixel AUROC and PRO in percent; the deviation is over seeds."""
    shown = Table(title=heading)
    shown.add_column("method")
    for metric in SHOWN:
        shown.add_column(HEADINGS[metric], justify="right")
    for row in _whole(rows):
        shown.add_row(row.name, *(figure_text(row, metric) for metric in SHOWN))
    return shown


def document(run: Run, reports: Sequence[SetReport]) -> dict[str, Any]:
    """Everything that was measured and what it takes to measure it again."""
    backbone, settings = run.backbone, run.settings
    return {
        "command": shlex.join(("python", *run.command)),
        "machine": _machine(backbone),
        "model": {
            "id": backbone.model_id,
            "weights_hash": backbone.weights_hash,
            "preprocess_hash": backbone.preprocess_hash,
            "grid": asdict(backbone.grid),
            "settings": settings.model_dump(exclude={"pretrained"}, mode="json"),
        },
        "temperature": {"ALFA": settings.temperature, "WinCLIP": [CLIP_TEMPERATURE, settings.temperature]},
        "shots": list(run.shots),
        "seeds": run.seeds,
        "limit": run.limit,
        "sets": {report.name: _set(report) for report in reports},
        "means": {heading: _rows(rows) for heading, rows in means(reports).items()},
    }


def _set(report: SetReport) -> dict[str, Any]:
    dataset = report.result.dataset
    return {
        "folder": report.folder,
        "good": dataset.good,
        "defective": dataset.defective,
        "masks": report.result.masks,
        "prompts": report.prompts,
        "prompts_hash": report.prompts_hash,
        "class": report.class_name,
        "seconds": round(report.seconds, 1),
        "rows": _rows(report.result.rows),
    }


def _rows(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [{"row": row.name, **{metric: _figure(row, metric) for metric in METRICS}} for row in _whole(rows)]


def _figure(row: Row, metric: str) -> dict[str, Any] | None:
    """Mean, deviation and the values seed by seed; None where the set has no such figure."""
    values = [figures.values()[metric] for figures in row.repeats if metric in figures.values()]
    return {"mean": row.mean(metric), "std": row.std(metric), "values": values} if values else None


def _whole(rows: Iterable[Row]) -> list[Row]:
    """Without the halves of ALFA's score, which `alfa-eval` shows; peers have none."""
    return [row for row in rows if row.part == WHOLE]


def _machine(backbone: Backbone) -> dict[str, Any]:
    """What the figures were measured on."""
    device = backbone.device
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
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
    return names[0] if names else platform.machine()
