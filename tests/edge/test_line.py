"""The whole line as a plant runs it: camera, detector, results and a PLC, each a process of its own."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pytest

from alfa.prompting.promptset import PromptSet, to_toml
from alfa.settings import ModelSettings
from edge.messages import ServiceState, Verdict, decode_beat, decode_verdict
from edge.plc.registers import LineImage, ResultCode, part_number, result_code, scaled_score
from edge.processes import free_port
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive

PARTS = 12
PATIENCE_S = 60.0  # for two cores that are busy otherwise; it takes a few seconds
LINE = f"""
[lines.line1]
prompts = "plate"
recipe = 5
max_age_ms = 600000
[lines.line1.source]
kind = "synthetic"
rate_hz = 20
width = 96
height = 64
limit = {PARTS}
[results]
no_verdict_after_ms = 601000
lost_after_ms = 10000
"""
# Only this process knows the tests' model; it tells the detector's.
DETECTOR_WITH_TEST_MODEL = """
import sys
import open_clip
open_clip.add_model_config(sys.argv.pop(1))
from edge.detector.main import main
main()
"""


class Plc(Protocol):
    """The stand-in for the PLC of conftest.py."""

    table: str

    def wait_for(self, holds: Callable[[LineImage], bool], seconds: float) -> LineImage: ...

    def history(self) -> list[LineImage]: ...


class Plant:
    """The processes of one line, started one by one; the test listens as any subscriber may."""

    def __init__(self, config: Path, model: ModelSettings, ports: list[int], stack: ExitStack) -> None:
        self.settings: Settings = load_settings(config)
        self.ports = ports  # of the pages of results, detector and camera
        self._config = config
        self._model = model
        self._stack = stack
        self._log = stack.enter_context((config.parent / "log").open("w+"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        sockets = stack.enter_context(Sockets())
        endpoints = [self.settings.detector_endpoint("main"), self.settings.results_endpoint()]
        self._heard: Socket = sockets.subscriber(endpoints, [b"verdict/", b"beat/"], VERDICT_HWM)
        self.verdicts: list[Verdict] = []
        self.states: dict[str, ServiceState] = {}

    def start_results(self) -> None:
        self._start("results", "-m", "edge.results.main")

    def start_detector(self) -> None:
        architecture = Path(self._model.pretrained).with_name(f"{self._model.name}.json")
        self._start("detector", "-c", DETECTOR_WITH_TEST_MODEL, str(architecture))

    def start_camera(self) -> None:
        self._start("camera", "-m", "edge.camera.main", "--wait-for-detector")

    def listen(self, until: Callable[[], bool]) -> None:
        """Take verdicts and beats until something holds; fails when it does not in time or a process ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended: {self._logged()}"
            assert time.monotonic() < deadline, f"not in time; {self.states}, {len(self.verdicts)} verdicts"
            if self._heard.poll(100):
                self._take()

    def stop(self) -> dict[str, int]:
        """SIGTERM to each, results first so that it sees no loss; their exit codes."""
        codes = {}
        for name, process in self._processes.items():
            process.send_signal(signal.SIGTERM)
            codes[name] = process.wait(PATIENCE_S)
        return codes

    def recorded(self) -> list[tuple[int, int, str, float | None]]:
        """(epoch, seq, result, score) of every row of the record, in the order they were written."""
        database = self.settings.database
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT epoch, seq, result, score FROM verdicts ORDER BY id").fetchall()

    def _start(self, name: str, *command: str) -> None:
        arguments = [sys.executable, *command, "--config", str(self._config)]
        process = self._stack.enter_context(subprocess.Popen(arguments, stderr=self._log))
        self._stack.callback(process.kill)
        self._processes[name] = process

    def _take(self) -> None:
        parts = receive(self._heard)
        assert parts is not None
        if bytes(parts[0]).startswith(b"verdict/"):
            self.verdicts.append(decode_verdict(parts))
        else:
            beat = decode_beat(parts)
            self.states[beat.service] = beat.state

    def _logged(self) -> str:
        self._log.seek(0)
        return self._log.read()


@pytest.fixture
def plant(write_config: Callable[..., Path], tiny_settings: ModelSettings, plc: Plc) -> Iterator[Plant]:
    """A plant with one synthetic line on the tests' model; nothing started but the PLC."""
    model = (
        f'[model]\nname = "{tiny_settings.name}"\npretrained = "{tiny_settings.pretrained}"\ndevice = "cpu"\n'
    )
    # Under load a beat may be late; what a loss does is tested elsewhere.
    ports = {key: free_port() for key in ("results", "detectors.main", "cameras.line1")}
    pages = "\n".join(["[http]", *(f'{key} = "127.0.0.1:{port}"' for key, port in ports.items())])
    config = write_config(f"{model}{plc.table}safe_within_ms = 10_100\n{pages}\n{LINE}")
    prompts = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate.",))
    (config.parent / "prompts").mkdir()
    (config.parent / "prompts" / "plate.toml").write_text(to_toml(prompts))
    with ExitStack() as stack:
        yield Plant(config, tiny_settings, list(ports.values()), stack)


@pytest.mark.timeout(400)  # each of its waits has the patience above
def test_every_captured_part_has_one_verdict_in_record_and_plc(
    plant: Plant, plc: Plc, get_page: Callable[[int, str], tuple[int, str]]
) -> None:
    """Twelve parts: twelve verdicts, twelve rows, each shown to the PLC once in order, all end with 0.

    Meanwhile every service says that it is ready, and Prometheus reads the same twelve of each.
    """
    plant.start_results()
    plant.start_camera()
    # Until results hears the camera the PLC sees the safe state, and the line's first OK would be withdrawn.
    plc.wait_for(lambda image: image.camera_alive, PATIENCE_S)
    plant.start_detector()
    plant.listen(until=lambda: len(plant.verdicts) == PARTS)
    last = plant.verdicts[-1]
    shown = plc.wait_for(
        lambda image: image.seq == PARTS - 1 and image.result_valid and image.ready, PATIENCE_S
    )
    plant.listen(until=lambda: [get_page(port, "/readyz")[0] for port in plant.ports] == [200] * 3)
    scraped = [
        'alfa_record_rows_total{line="line1"}',
        'alfa_stage_seconds_count{line="line1",stage="total"}',
        'alfa_camera_captured_total{line="line1"}',
    ]
    plant.listen(
        until=lambda: all(
            f"{name} {PARTS}.0\n" in get_page(port, "/metrics")[1]
            for name, port in zip(scraped, plant.ports, strict=True)
        )
    )
    codes = plant.stop()

    assert [verdict.seq for verdict in plant.verdicts] == list(range(PARTS))
    assert all(verdict.score is not None for verdict in plant.verdicts)
    assert plant.recorded() == [
        (verdict.epoch, verdict.seq, verdict.result.value, verdict.score) for verdict in plant.verdicts
    ]
    assert (shown.part_id, shown.recipe) == (part_number(last.part_id), 5)
    assert (shown.result_code, shown.score, shown.threshold) == (
        result_code(last.result),
        scaled_score(last.score),
        scaled_score(last.threshold),
    )
    assert (shown.camera_alive, shown.detector_alive, shown.fault) == (True, True, False)
    assert shown.result_ok == (shown.result_code is ResultCode.OK)
    toggles = [image.toggle for image in plc.history() if image.result_valid]
    flips = sum(before != after for before, after in pairwise(toggles))
    assert flips == PARTS - 1
    assert codes == {"results": 0, "camera": 0, "detector": 0}
