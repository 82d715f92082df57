"""`edge-detector` as a process: exit codes, one-line errors, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alfa.settings import ModelSettings
from edge.messages import ServiceState, decode_beat
from edge.settings import load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive

WriteConfig = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]
DETECTOR = (sys.executable, "-m", "edge.detector.main")
CONFIG = """
[lines.line1]
prompts = "plate"
[lines.line1.source]
kind = "synthetic"
"""
PROMPTS = """
schema = 1
class = "plate"
normal = ["A normal image of a plate."]
abnormal = ["An abnormal image of a plate."]
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(*command)` starts a process; whatever fails, none is left running."""
    started: list[subprocess.Popen[str]] = []

    def process(*command: str | Path) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield process
    for left in started:
        left.kill()
        left.communicate()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DETECTOR, *arguments], capture_output=True, text=True, check=False, timeout=60)


def write_prompts(config: Path, text: str = PROMPTS) -> Path:
    path = config.parent / "prompts" / "plate.toml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def detector_with(model: ModelSettings) -> tuple[str, ...]:
    """The command, with the test model known to open_clip in its process."""
    architecture = Path(model.pretrained).with_name(f"{model.name}.json")
    code = f"""
import open_clip
open_clip.add_model_config({str(architecture)!r})
from edge.detector.main import main
main()
"""
    return sys.executable, "-c", code


def wait_for(state: ServiceState, heard: Socket, process: subprocess.Popen[str]) -> None:
    """Listen until a beat says so; fails as soon as the process has ended instead."""
    said: ServiceState | None = None
    while said is not state:
        assert process.poll() is None, process.communicate()
        if heard.poll(1000):
            parts = receive(heard)
            assert parts is not None
            said = decode_beat(parts).state


def assert_one_line(ended: subprocess.CompletedProcess[str], code: int, *named: str) -> None:
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
    assert all(name in ended.stderr for name in named)


def test_a_detector_that_no_line_names_is_bad_input(write_config: WriteConfig) -> None:
    """The line says which detectors there are."""
    ended = run("--config", write_config(), "--name", "second")
    assert_one_line(ended, 2, "second", "main")


def test_a_missing_config_is_bad_input(runtime_dir: Path) -> None:
    """Named, exit 2."""
    assert_one_line(run("--config", runtime_dir / "none.toml"), 2, "none.toml")


def test_a_broken_prompt_file_is_told_before_anything_is_bound(write_config: WriteConfig) -> None:
    """Exit 2, and no socket or lock is left in the runtime directory."""
    config = write_config(CONFIG)
    write_prompts(config, PROMPTS.replace("abnormal", "abnormall"))
    assert_one_line(run("--config", config), 2, "plate.toml", "abnormal")
    assert not (config.parent / "run").exists()


def test_a_second_detector_of_the_same_name_is_refused(write_config: WriteConfig) -> None:
    """The first one keeps its sockets; exit 3."""
    config = write_config(CONFIG)
    write_prompts(config)
    with Sockets() as sockets:
        sockets.publisher(load_settings(config).detector_endpoint("main"), VERDICT_HWM)
        ended = run("--config", config)
    assert_one_line(ended, 3, "endpoint_in_use", "detector-main.sock")


def test_it_gets_ready_and_ends_with_0(
    start: Start, write_config: WriteConfig, tiny_settings: ModelSettings
) -> None:
    """READY once the model is loaded, exit 0 on SIGTERM."""
    config = write_config(f'[model]\nname = "{tiny_settings.name}"\ndevice = "cpu"\n{CONFIG}')
    write_prompts(config)
    with Sockets() as sockets:
        endpoint = load_settings(config).detector_endpoint("main")
        heard = sockets.subscriber([endpoint], [b"beat/detector/line1/"], VERDICT_HWM)
        process = start(*detector_with(tiny_settings), "--config", config)
        wait_for(ServiceState.READY, heard, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_it_ends_at_once_while_the_model_loads(start: Start, write_config: WriteConfig) -> None:
    """A stop does not wait for a load that hangs, here on a prompt file that never ends."""
    config = write_config(CONFIG)
    prompts = write_prompts(config)
    prompts.unlink()
    os.mkfifo(prompts)
    with Sockets() as sockets:
        endpoint = load_settings(config).detector_endpoint("main")
        heard = sockets.subscriber([endpoint], [b"beat/detector/line1/"], VERDICT_HWM)
        process = start(*DETECTOR, "--config", config)
        # The file is read once before anything is bound; the second read, the load's, waits for ever.
        prompts.write_text(PROMPTS)
        wait_for(ServiceState.STARTING, heard, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
