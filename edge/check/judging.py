"""Model, prompts, banks and calibrations: are they there, and do they belong together?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from alfa.backbone import Backbone
from alfa.calibration import Calibration
from alfa.errors import AlfaError, Fault, cause
from alfa.memory import MemoryBank
from alfa.prompting.promptset import find_prompt_file, load_prompt_set
from alfa.recipe import Recipe
from edge.check.findings import Check, Finding, Outcome
from edge.settings import LineSettings, Settings

_GIB = 1 << 30
_LITTLE_GPU_MEMORY = 2 * _GIB
_DEVICE = "check driver and card (nvidia-smi), or set model.device"
_MODEL = "check the [model] table; a local weights file is named in `model.pretrained`"
_PROMPTS = "correct the file, or `prompts` of the line; `alfa-prompts check` says more"
_BANK = "correct `bank` of the line, or teach it with the model in force: alfa-bank teach"
_UNCALIBRATED = "make thresholds from good parts: alfa-calibrate"
_FIRST_THE_OTHERS = "mend what failed above it, then look again"
_CALIBRATION = "calibrate again with the model, prompts and bank in force: alfa-calibrate"


def check_device(settings: Settings) -> Finding:
    """The device that the settings name, and its memory."""
    wanted = settings.model.device
    check = Check("gpu", wanted)
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return check.ok("the model runs on the CPU")
    device = torch.device("cuda" if wanted == "auto" else wanted)
    number, found = device.index or 0, torch.cuda.device_count()
    if number >= found:
        return check.fail(f"there are {found} CUDA devices", _DEVICE)
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        # The driver lists a card that it cannot work with.
        return check.fail(cause(error), _DEVICE)
    memory = f"{torch.cuda.get_device_name(number)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free < _LITTLE_GPU_MEMORY:
        return check.warn(memory, "see what else uses it (nvidia-smi); a running detector is counted here")
    return check.ok(memory)


def check_judging(settings: Settings) -> Iterator[Finding]:
    """The model and each line's files under it; where it cannot be loaded, the files by themselves."""
    check = Check("model", settings.model.name)
    backbone: Backbone | None = None
    try:
        backbone = _loaded(settings)
        yield check.ok(f"weights {backbone.weights_hash} on {backbone.device}")
    except AlfaError as error:
        yield check.fail(str(error), _MODEL)
    for name, line in settings.lines.items():
        yield from _check_line(settings, name, line, backbone)


def _loaded(settings: Settings) -> Backbone:
    try:
        return Backbone.load(settings.model)
    except (OSError, RuntimeError, ValueError) as error:
        raise Fault("model_unavailable", f"cannot load the model: {cause(error)}") from error


def _check_line(
    settings: Settings, name: str, line: LineSettings, backbone: Backbone | None
) -> Iterator[Finding]:
    findings = [
        _check_prompts(settings, name, line),
        _check_bank(name, line, backbone),
        _check_calibration_file(name, line),
    ]
    all_readable = all(finding.outcome is not Outcome.FAIL for finding in findings)
    if all_readable and backbone is not None:
        findings[-1] = _check_calibration(settings, name, line, backbone, findings[-1])
    elif findings[-1].outcome is Outcome.OK:
        detail = f"{findings[-1].detail}; not compared with what it was made with"
        findings[-1] = Check("calibration", name).warn(detail, _FIRST_THE_OTHERS)
    yield from findings


def _check_prompts(settings: Settings, name: str, line: LineSettings) -> Finding:
    check = Check("prompts", name)

    def read() -> Finding:
        found = load_prompt_set(find_prompt_file(line.prompts, settings.paths.prompts))
        counts = f"{len(found.normal)} normal, {len(found.abnormal)} abnormal"
        return check.ok(f"{line.prompts}: {counts}, hash {found.content_hash}")

    return check.tried(read, _PROMPTS)


def _check_bank(name: str, line: LineSettings, backbone: Backbone | None) -> Finding:
    check = Check("bank", name)
    path = line.bank
    if path is None:
        return check.ok("none: judged by prompts alone")

    def read() -> Finding:
        bank = MemoryBank.load(path)
        if backbone is not None:
            bank.require_match(backbone, path)
        return check.ok(f"{path.name}: {len(bank.info.sources)} images, hash {bank.content_hash}")

    return check.tried(read, _BANK)


def _check_calibration_file(name: str, line: LineSettings) -> Finding:
    check = Check("calibration", name)
    path = line.calibration
    if path is None and line.bank is not None:
        return check.warn("none, but a bank: nearly all parts will be NG", _UNCALIBRATED)
    if path is None:
        return check.warn("none: verdicts say calibrated = false", _UNCALIBRATED)

    def read() -> Finding:
        found = Calibration.load(path)
        if found.image_side > line.max_side > 0 and not found.is_for_side(line.max_side):
            made, sent = found.image_side, line.max_side
            return check.warn(f"made of images of {made} pixels, the camera sends {sent}", _CALIBRATION)
        detail = f"{path.name}: threshold {found.score_threshold:.4f}, n {found.n}, alpha {found.alpha:g}"
        return check.ok(f"{detail}, hash {found.content_hash}")

    return check.tried(read, _CALIBRATION)


def _check_calibration(
    settings: Settings, name: str, line: LineSettings, backbone: Backbone, readable: Finding
) -> Finding:
    """Whether the files belong together: the calibration says what it was made with."""
    check = Check("calibration", name)

    def load_all() -> Finding:
        prompts = find_prompt_file(line.prompts, settings.paths.prompts)
        Recipe.load(backbone, prompts, line.bank, line.calibration, settings=settings.model)
        return readable

    return check.tried(load_all, _CALIBRATION)
