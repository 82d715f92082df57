"""Every command on input that is wrong: one line that says what to do, its exit code, and nothing written.

A site is a directory in which all commands work; each case damages one thing in it.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import structlog

from alfa.prompting.promptset import PromptSet, to_toml
from alfa.settings import ModelSettings
from edge.settings import load_settings
from edge.sockets import VERDICT_HWM, Sockets

PROGRAMS = {
    "alfa-bank": "alfa.cli.bank",
    "alfa-calibrate": "alfa.cli.calibrate",
    "alfa-eval": "alfa.cli.eval",
    "alfa-inspect": "alfa.cli.inspect",
    "alfa-prompts": "edge.prompts.main",
    "edge-camera": "edge.camera.main",
    "edge-detector": "edge.detector.main",
    "edge-results": "edge.results.main",
    "edge-watch": "edge.watch",
}
TEACH = "alfa-bank teach images --out new/bank.safetensors --config config.toml"
CALIBRATE = (
    "alfa-calibrate images --prompts plate --alpha 0.5 --out new/calibration.json --config config.toml"
)
INSPECT = (
    "alfa-inspect images --prompts plate --bank bank.safetensors --calibration calibration.json "
    "--overlays new --config config.toml"
)
EVAL = "alfa-eval known --prompts plate --out new --config config.toml"
CHECK = "alfa-prompts check plate --images images --config config.toml"
IMPORT = "alfa-prompts import answers.txt --class washer --out new/washer.toml"
GENERATE = "alfa-prompts generate --class washer --out new/washer.toml --base-url http://127.0.0.1:9/v1"
DIFF = "alfa-prompts diff other --config config.toml"
REHEARSE = "alfa-prompts rehearse other --images images --config config.toml"
APPLY = "alfa-prompts apply other --config config.toml"
CAMERA = "edge-camera --config config.toml"
DETECTOR = "edge-detector --config config.toml"
RESULTS = "edge-results --config config.toml"
WATCH = "edge-watch --config config.toml"

CONFIG = """
[model]
name = "{model}"
pretrained = "{weights}"
device = "cpu"
precision = "fp32"
[lines.line1]
prompts = "plate"
bank = "bank.safetensors"
calibration = "calibration.json"
[lines.line1.source]
kind = "folder"
path = "images"
"""
PROMPTS = PromptSet(
    class_name="plate",
    normal=("A normal image of a plate.",),
    abnormal=("An abnormal image of a plate with a scratch.",),
    descriptors=("scratch",),
)
NOBODY = 65534
OVER_LONG = "a b " * 45  # fits into the characters of a prompt, not into the tokens of the model

Damage = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


# What may be wrong


def nothing(site: Path) -> None:
    """The command line itself is wrong, or the machine."""


def gone(name: str) -> Damage:
    return lambda site: (site / name).unlink()


def holds(name: str, content: bytes | str) -> Damage:
    encoded = content.encode() if isinstance(content, str) else content
    return lambda site: (site / name).write_bytes(encoded)


def is_directory(name: str) -> Damage:
    def damage(site: Path) -> None:
        (site / name).unlink(missing_ok=True)
        (site / name).mkdir()

    return damage


def cut_short(name: str) -> Damage:
    def damage(site: Path) -> None:
        content = (site / name).read_bytes()
        (site / name).write_bytes(content[: len(content) // 2])

    return damage


def edited(name: str, old: str, new: str) -> Damage:
    def damage(site: Path) -> None:
        text = (site / name).read_text(encoding="utf-8")
        assert old in text
        (site / name).write_text(text.replace(old, new), encoding="utf-8")

    return damage


def source(text: str) -> Damage:
    return edited("config.toml", 'kind = "folder"\npath = "images"', text)


def replaced(name: str, by: str) -> Damage:
    return lambda site: shutil.copy(site / by, site / name)


def picture(pixels: np.ndarray[Any, Any], suffix: str = ".png") -> Damage:
    """One more image, the last by name."""
    return lambda site: cv2.imwrite(str(site / "images" / f"z{suffix}"), pixels)


def cut_picture(site: Path) -> None:
    picture(np.zeros((40, 50, 3), np.uint8))(site)
    cut_short("images/z.png")(site)


# The commands, in a site


@pytest.fixture(scope="session")
def whole_site(tmp_path_factory: pytest.TempPathFactory, tiny_settings: ModelSettings) -> Path:
    """A site where everything fits together, with banks and a calibration of other setups beside it."""
    import safetensors.torch

    from alfa.backbone import Backbone
    from alfa.calibration import calibrate
    from alfa.inspector import Inspector
    from alfa.memory import MemoryBank

    site = tmp_path_factory.mktemp("site")
    for directory in ("images", "prompts", "other"):
        (site / directory).mkdir()
    weights = Path(tiny_settings.pretrained)
    shutil.copy(weights, site / weights.name)
    (site / "config.toml").write_text(CONFIG.format(model=tiny_settings.name, weights=weights.name))
    (site / "prompts" / "plate.toml").write_text(to_toml(PROMPTS))
    (site / "prompts" / "other.toml").write_text(to_toml(replace(PROMPTS, descriptors=("dent",))))
    (site / "answers.txt").write_text("no answers\n")

    generator = np.random.default_rng(0)
    pictures = [generator.integers(100, 150, (40, 50, 3)).astype(np.uint8) for _ in range(4)]
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(site / "images" / f"{number}.png"), pixels)

    for kind, pixels in (("good", pictures[0]), ("good", pictures[1]), ("dented", pictures[2])):
        (site / "known" / kind).mkdir(parents=True, exist_ok=True)
        number = len(list((site / "known" / kind).iterdir()))
        cv2.imwrite(str(site / "known" / kind / f"{number}.png"), pixels)

    other_weights = site / "other" / weights.name
    tensors = safetensors.torch.load_file(weights)
    safetensors.torch.save_file({**tensors, "logit_scale": tensors["logit_scale"] + 1}, other_weights)
    for name, settings in (
        ("bank", tiny_settings),
        ("other/model", tiny_settings.model_copy(update={"pretrained": str(other_weights)})),
        ("other/grid", tiny_settings.model_copy(update={"resolution": 48})),
    ):
        backbone = Backbone.load(settings)
        features = [encoded for _, encoded in backbone.encode(pictures[:2])]
        MemoryBank.build(features, backbone, ["0", "1"]).save(site / f"{name}.safetensors")
    for name, bank in (("calibration", site / "bank.safetensors"), ("other/calibration", None)):
        inspector = Inspector.load(site / "prompts" / "plate.toml", bank, settings=tiny_settings)
        made = calibrate(inspector.inspect(pictures[2:]), 0.5, inspector.recipe.binding)
        made.save(site / f"{name}.json")
    return site


@pytest.fixture
def site(whole_site: Path) -> Iterator[Path]:
    """A site of one's own; its path is short enough for unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="site-", dir="/tmp"))
    shutil.copytree(whole_site, directory, dirs_exist_ok=True)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def here(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> Iterator[Callable[[str], Ended]]:
    """Run a command in this process, as its console script does; torch is imported once for all."""
    monkeypatch.chdir(site)

    def run(command: str) -> Ended:
        program, *arguments = command.split()
        main = importlib.import_module(PROGRAMS[program]).main
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        # In a process of its own, these would be lines on stderr too.
        noise = [f"{record.message}\n" for record in caplog.records if record.levelno >= logging.WARNING]
        noise += [f"{warning.message}\n" for warning in recwarn.list]
        return Ended(int(ended.value.code or 0), captured.out, "".join(noise) + captured.err)

    yield run
    structlog.reset_defaults()


def as_process(command: str, site: Path) -> Ended:
    program, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, "-m", PROGRAMS[program], *arguments],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def contents(site: Path) -> dict[str, bytes | None]:
    """All there is in a site but sockets: a service has to bind them before it knows its model."""
    return {
        str(path.relative_to(site)): path.read_bytes() if path.is_file() else None
        for path in site.rglob("*")
        if "run" not in path.relative_to(site).parts
    }


def assert_refused(ended: Ended, code: int, named: tuple[str, ...]) -> None:
    assert ended.stderr.startswith("error: "), ended
    assert (ended.exit_code, ended.stderr.count("\n"), ended.stdout) == (code, 1, ""), ended
    assert all(words in ended.stderr for words in named), ended.stderr


# Cases: what is wrong, the command, the damage, the exit code, the words that must be in its line


def cases(*rows: tuple[str, Damage, int, tuple[str, ...]]) -> pytest.MarkDecorator:
    params = [pytest.param(*row, id=f"{row[0].split()[0]} {' '.join(row[3])}") for row in rows]
    return pytest.mark.parametrize(("command", "damage", "code", "named"), params)


@cases(
    (CAMERA, gone("config.toml"), 2, ("config.toml", "no such file")),
    (CAMERA, edited("config.toml", "path =", '"a\\nb" = 1\npath ='), 2, (r"a\nb = 1", "unknown key")),
    (CAMERA, source('kind = "folder"\npath = "parts"'), 2, ("source.path", "parts", "no such directory")),
    (CAMERA, source('kind = "video"\npath = "answers.txt"'), 2, ("source.path", "answers.txt", "no video")),
    (f"{CAMERA} --line line2", nothing, 2, ("config.toml", "'line2'", "takes one of: line1")),
    (DETECTOR, holds("config.toml", "[model"), 2, ("config.toml", "not valid TOML")),
    (RESULTS, holds("config.toml", b"# \xe4\n"), 2, ("config.toml", "not UTF-8", "byte 2")),
    (WATCH, edited("config.toml", "[lines.line1]", "[lnes.line1]"), 2, ("config.toml: lnes", "unknown key")),
    (IMPORT, holds("answers.txt", b"\xff\xfe"), 2, ("answers.txt", "not UTF-8")),
    (TEACH, edited("config.toml", "tiny-clip", "no-clip"), 2, ("model: name = 'no-clip'", "unknown model")),
)
def test_process_refuses(site: Path, command: str, damage: Damage, code: int, named: tuple[str, ...]) -> None:
    """As processes: nothing beside the one line reaches the terminal."""
    damage(site)
    before = contents(site)
    assert_refused(as_process(command, site), code, named)
    assert contents(site) == before


@cases(
    # config.toml, read whole or only its model
    (CAMERA, is_directory("config.toml"), 2, ("config.toml", "Is a directory")),
    (CAMERA, holds("config.toml", "x = " + "[" * 5000), 2, ("config.toml", "nested too deeply")),
    (CAMERA, holds("config.toml", ""), 2, ("config.toml", "lines: is missing")),
    (CAMERA, edited("config.toml", "kind =", "# kind ="), 2, ("lines.line1.source", "add `kind`")),
    (CAMERA, edited("config.toml", "path =", "pth = 1\npath ="), 2, ("source.pth = 1", "unknown key")),
    (CAMERA, edited("config.toml", '"images"', "3"), 2, ("lines.line1.source.path = 3", "in quotes")),
    (CAMERA, edited("config.toml", '"images"', f'"{"x" * 999}"'), 2, ("source.path", "too long")),
    (CAMERA, source('kind = "device"\ndevice = 1234567890123'), 2, ("source.device = 1234567890123",)),
    (TEACH, gone("config.toml"), 2, ("config.toml", "no such file")),
    (CALIBRATE, holds("config.toml", "[model"), 2, ("config.toml", "not valid TOML")),
    (
        INSPECT,
        edited("config.toml", "device", "devise"),
        2,
        ("config.toml", "model.devise", "unknown key"),
    ),
    (CHECK, edited("config.toml", '"cpu"', "7"), 2, ("config.toml", "model.device = 7")),
    (f"{DETECTOR} --name second", nothing, 2, ("config.toml", "'second'", "main")),
    # model and weights
    (TEACH, edited("config.toml", "tiny-clip", "tny-clip"), 2, ("model: name = 'tny-clip'", "tiny-clip")),
    (TEACH, gone("tiny.safetensors"), 2, ("model: pretrained = 'tiny.safetensors'", "no file")),
    (TEACH, cut_short("tiny.safetensors"), 2, ("tiny.safetensors", "cut short")),
    (TEACH, holds("tiny.safetensors", b""), 2, ("tiny.safetensors", "cut short")),
    (TEACH, replaced("tiny.safetensors", "bank.safetensors"), 2, ("tiny.safetensors", "another model")),
    (TEACH, edited("config.toml", '"cpu"', '"cuda:9"'), 2, ("model: device = 'cuda:9'", "use auto")),
    (TEACH, edited("config.toml", "device", "scales = [4]\ndevice"), 2, ("model: scales = 4", "4x3")),
    (DETECTOR, cut_short("tiny.safetensors"), 2, ("tiny.safetensors", "cut short")),
    # prompts
    (INSPECT.replace("plate", "plte"), nothing, 2, ("'plte'", "did you mean plate?")),
    (INSPECT.replace("plate", "plate.toml"), nothing, 2, ("plate.toml", "no such prompt file")),
    (DETECTOR, edited("config.toml", '"plate"', '"plte"'), 2, ("lines.line1.prompts = 'plte'", "plate")),
    (DETECTOR, edited("prompts/plate.toml", "schema = 1", "schema = 2"), 2, ("plate.toml", "schema = 2")),
    (INSPECT, edited("prompts/plate.toml", "schema = 1", ""), 2, ("plate.toml: schema: is missing",)),
    (CHECK, edited("prompts/plate.toml", "abnormal = [", "abnrmal = ["), 2, ("plate.toml", "abnormal")),
    (
        INSPECT,
        edited("prompts/plate.toml", '    "An abnormal image of a plate with a scratch.",\n', ""),
        2,
        ("plate.toml: abnormal = []: is empty",),
    ),
    (
        DETECTOR,
        edited("prompts/plate.toml", "with a scratch", "x" * 400),
        2,
        ("plate.toml: abnormal.0", "at most 400 characters"),
    ),
    (
        DETECTOR,
        edited("prompts/plate.toml", "with a scratch", OVER_LONG),
        2,
        ("plate.toml", "tokens", "the model reads 77"),
    ),
    (DETECTOR, holds("prompts/plate.toml", b"\xff"), 2, ("plate.toml", "not UTF-8")),
    # prompts on their way into a line
    (f"{DIFF} --line line2", nothing, 2, ("--line = 'line2'", "its lines are line1")),
    (f"{DIFF} --against plte", nothing, 2, ("'plte'", "did you mean plate?")),
    (REHEARSE, gone("bank.safetensors"), 2, ("bank.safetensors", "no such memory bank")),
    (REHEARSE, holds("images/z.png", b""), 2, ("images/z.png", "not an image, or empty")),
    (REHEARSE.replace("--images images", ""), nothing, 2, ("results.sqlite", "no such record")),
    (APPLY, nothing, 2, ("lines.line1.calibration", "was made for prompts", "--calibration")),
    (APPLY, cut_short("calibration.json"), 2, ("calibration.json", "not JSON")),
    (f"{APPLY} --class ?", nothing, 2, ("--class = '?'", "letters or digits")),
    ("alfa-prompts rollback --config config.toml", nothing, 2, ("history/plate", "holds no other set")),
    # banks
    (INSPECT, replaced("bank.safetensors", "other/model.safetensors"), 2, ("bank.safet", "weights_hash")),
    (
        DETECTOR,
        replaced("bank.safetensors", "other/model.safetensors"),
        2,
        ("bank.safet", "weights_hash"),
    ),
    (DETECTOR, replaced("bank.safetensors", "other/grid.safetensors"), 2, ("grid = (4, 4)", "(4, 3)")),
    (DETECTOR, gone("bank.safetensors"), 2, ("bank.safetensors", "no such memory bank")),
    (DETECTOR, cut_short("bank.safetensors"), 2, ("bank.safetensors", "not a readable memory bank")),
    (DETECTOR, is_directory("bank.safetensors"), 2, ("bank.safetensors", "not a readable memory bank")),
    ("alfa-bank show tiny.safetensors", nothing, 2, ("tiny.safetensors", "no memory bank")),
    ("alfa-bank drop tiny.safetensors", nothing, 2, ("tiny.safetensors", "no memory bank")),
    # calibrations
    (
        DETECTOR,
        replaced("calibration.json", "other/calibration.json"),
        2,
        ("calibration.json: bank_hash",),
    ),
    (
        INSPECT,
        replaced("prompts/plate.toml", "prompts/other.toml"),
        2,
        ("calibration.json: prompts_hash",),
    ),
    (DETECTOR, gone("calibration.json"), 2, ("calibration.json", "no such file")),
    (DETECTOR, holds("calibration.json", "[" * 5000), 2, ("calibration.json", "not JSON")),
    (
        DETECTOR,
        edited("calibration.json", '"schema_version": 1', '"schema_version": 2'),
        2,
        ("schema_version = 2",),
    ),
    # images
    (CALIBRATE, cut_picture, 2, ("images/z.png", "cannot be read whole")),
    (TEACH, holds("images/z.png", b""), 2, ("images/z.png", "not an image, or empty")),
    (INSPECT, holds("images/z.png", "a text"), 2, ("images/z.png", "not an image")),
    (INSPECT, picture(np.zeros((1, 1, 3), np.uint8)), 2, ("z.png: size = '1x1'", "too small")),
    (TEACH, picture(np.zeros((10_000, 10_000), np.uint8)), 2, ("z.png: size = '10000x10000'", "smaller")),
    (TEACH, picture(np.zeros((40, 50), np.float32), ".tiff"), 2, ("z.tiff", "save it again as PNG")),
    (CHECK, holds("images/z.png", b""), 2, ("images/z.png", "not an image, or empty")),
    (TEACH.replace("images", "imges"), nothing, 2, ("imges", "no such directory")),
    (TEACH.replace("images", "prompts"), nothing, 2, ("prompts", "holds no image")),
    # data sets with known answers
    (EVAL.replace("known", "knwn"), nothing, 2, ("knwn", "no such directory", "test/good")),
    (EVAL.replace("known", "x" * 300), nothing, 2, ("xxx", "too long")),
    (EVAL.replace("known", "images"), nothing, 2, ("images", "holds no class", "good")),
    (EVAL, gone("known/dented/0.png"), 2, ("known/dented", "holds no image")),
    (EVAL.replace("new", "config.toml"), nothing, 2, ("--out = 'config.toml'",)),
    (f"{EVAL} --shots 2", nothing, 2, ("--shots = 2", "known has 1 images")),
    (f"{EVAL} --prompts nut=plate", nothing, 2, ("--prompts: class = 'nut'", "it has known")),
    (EVAL.replace("plate", "plte"), nothing, 2, ("'plte'", "did you mean plate?")),
    (EVAL.replace("--out new", "--restart"), nothing, 2, ("--restart", "--out")),
    (EVAL.replace("--out new", ""), holds("known/good/1.png", "a text"), 2, ("good/1.png", "not an image")),
    (EVAL.replace("new", "."), holds("results.sqlite", "text " * 999), 2, ("results.sqlite", "no results")),
    # where output goes, and sockets
    (TEACH.replace("new/", "config.toml/"), nothing, 2, ("--out", "config.toml")),
    (CALIBRATE.replace("new/calibration.json", "images"), nothing, 2, ("--out = 'images'", "directory")),
    (INSPECT.replace("overlays new", "overlays config.toml"), nothing, 2, ("--overlays", "config.toml")),
    (f"{TEACH} --out {'x' * 300}", nothing, 2, ("--out", "too long")),
    (f"{INSPECT} --overlays {'x' * 300}", nothing, 2, ("--overlays", "too long")),
    (INSPECT.replace("images", "x" * 300), nothing, 2, ("xxx", "too long")),
    (INSPECT.replace("plate", "x" * 300 + ".toml"), nothing, 2, ("x.toml", "too long")),
    (GENERATE.replace(":9/", ":9x/"), nothing, 2, ("--base-url = 'http://127.0.0.1:9x/v1'", "host and port")),
    (GENERATE, nothing, 3, ("llm_unreachable", "http://127.0.0.1:9/v1")),
    (DETECTOR, holds("run", ""), 3, ("endpoint_unusable", "detector-main.sock")),
    (IMPORT.replace("new/", "answers.txt/"), nothing, 2, ("--out", "answers.txt")),
    (CAMERA, holds("run", ""), 3, ("endpoint_unusable", "camera-line1.sock")),
    (RESULTS, holds("var", ""), 2, ("var", "paths.state")),
)
def test_command_refuses(
    site: Path,
    here: Callable[[str], Ended],
    command: str,
    damage: Damage,
    code: int,
    named: tuple[str, ...],
) -> None:
    """What may need the model, in this process: one line, its exit code, nothing written."""
    damage(site)
    before = contents(site)
    assert_refused(here(command), code, named)
    assert contents(site) == before


@pytest.mark.parametrize("command", [TEACH, CALIBRATE, INSPECT, CHECK, EVAL])
def test_site_is_good_before_it_is_damaged(here: Callable[[str], Ended], command: str) -> None:
    """Without damage the same commands work, so that every refusal above is about its damage."""
    ended = here(command)
    # 1 is an answer too: anomalous, or prompts that could be better.
    assert ended.exit_code in (0, 1)
    assert (ended.stderr, ended.stdout != "") == ("", True)


@pytest.mark.parametrize(
    ("pixels", "suffix"),
    [
        (np.full((40, 50, 3), 128 * 257, np.uint16), ".png"),
        (np.full((40, 50), 128, np.uint8), ".png"),
        (np.full((40, 50), 128 * 257, np.uint16), ".tiff"),
        (np.full((40, 50, 4), 128, np.uint8), ".png"),
    ],
    ids=["16 bit", "grey", "16 bit grey", "alpha"],
)
def test_other_kinds_of_image_are_taken(
    site: Path, here: Callable[[str], Ended], pixels: np.ndarray[Any, Any], suffix: str
) -> None:
    """16 bit, grey and alpha are converted, not refused, and nothing is complained of."""
    picture(pixels, suffix)(site)
    ended = here(TEACH)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "taught 5 images" in ended.stdout


@pytest.mark.parametrize(
    ("command", "endpoint"),
    [(CAMERA, "camera-line1.sock"), (DETECTOR, "detector-main.sock"), (RESULTS, "results.sock")],
)
def test_endpoint_in_use_is_a_fault(
    site: Path, here: Callable[[str], Ended], command: str, endpoint: str
) -> None:
    """The process that was first keeps its name; the second one says so and ends with 3."""
    runtime = load_settings(site / "config.toml").paths.runtime
    with Sockets() as sockets:
        sockets.publisher(f"ipc://{runtime}/{endpoint}", VERDICT_HWM)
        assert_refused(here(command), 3, ("endpoint_in_use", endpoint))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere, so it steps down meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize(
    ("command", "option"),
    [(TEACH, "--out"), (CALIBRATE, "--out"), (INSPECT, "--overlays"), (IMPORT, "--out"), (EVAL, "--out")],
)
def test_unwritable_directory_is_refused_before_the_work(
    site: Path, here: Callable[[str], Ended], command: str, option: str
) -> None:
    """The option that names it is told."""
    importlib.import_module(PROGRAMS[command.split()[0]])
    site.chmod(0o555)
    try:
        with as_nobody():
            ended = here(command)
    finally:
        site.chmod(0o755)
    assert_refused(ended, 2, (option, "can be written"))
