"""The services themselves over TCP: real processes, real keys, and what they say where a key is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alfa.errors import BadInput
from edge.messages import decode_beat, decode_frame
from edge.security.credentials import Credentials
from edge.security.keys import KeyDirectory, Role
from edge.settings import Settings, load_settings
from edge.sockets import Sockets, receive
from tests.edge.security.conftest import free_endpoint
from tests.edge.security.test_intruders import until

CONFIG = """
[network.cameras.line1]
frames = "{frames}"
key = "camera"
[network.detectors.main]
key = "detector"
[network.results]
beats = "{beats}"
key = "results"
[network.watch]
key = "laptop"
[results]
no_verdict_after_ms = 300
[lines.line1]
prompts = "generic"
max_age_ms = 200
source = {{ kind = "synthetic", rate_hz = 5, width = 1024, height = 768 }}
"""


@pytest.fixture
def config(write_config: Callable[..., Path], runtime_dir: Path) -> Path:
    """A line whose camera and results use TCP, with all keys."""
    keys = KeyDirectory(runtime_dir / "keys")
    for name, role in (
        ("camera", Role.CAMERA),
        ("detector", Role.DETECTOR),
        ("results", Role.RESULTS),
        ("laptop", Role.SUBSCRIBER),
    ):
        keys.create(name, role)
    return write_config(CONFIG.format(frames=free_endpoint(), beats=free_endpoint()))


@contextmanager
def service(module: str, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running service; killed at the end."""
    command = [sys.executable, "-m", module, "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def sockets_of(settings: Settings, role: Role, name: str = "") -> Sockets:
    """As the service of that role makes them."""
    return Sockets(Credentials.load(settings.network, role, name))


def test_frames_beats_and_revocation_over_tcp(config: Path) -> None:
    """Frames reach the detector whole, results counts the camera's parts, SIGHUP cuts a revoked key off."""
    settings = load_settings(config)
    with (
        service("edge.camera.main", config) as camera,
        service("edge.results.main", config),
        sockets_of(settings, Role.DETECTOR, "main") as detectors,
        sockets_of(settings, Role.SUBSCRIBER) as laptops,
    ):
        frames = detectors.speaking_subscriber([settings.camera_endpoint("line1")], [b"frame/line1/"], 16)
        beats = laptops.subscriber([settings.results_endpoint()], [b"beat/"], 16)
        until(lambda: frames.poll(100))
        # Large enough for shared memory, which is of no use to another host.
        assert decode_frame(receive(frames) or []).pixels.shape == (768, 1024, 3)

        def parts_are_counted() -> bool:
            """Nobody judges them; that there were any is known from the camera's beats alone."""
            message = receive(beats) if beats.poll(100) else None
            return message is not None and decode_beat(message).counters.get("no_verdict", 0) > 0

        until(parts_are_counted)
        KeyDirectory(settings.network.keys if settings.network else config).revoke("detector")
        camera.send_signal(signal.SIGHUP)
        until(lambda: detectors.counters()["handshakes_failed"])
    # Without an ipc socket, too, or the next service that has one would refuse to start there.
    assert settings.paths.runtime.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("module", "key"),
    [("edge.camera.main", "camera"), ("edge.results.main", "results"), ("edge.detector.main", "detector")],
)
def test_service_without_its_key_does_not_start(config: Path, module: str, key: str) -> None:
    """Exit code 2 and one line that names the file."""
    (config.parent / "keys" / f"{key}.key").unlink()
    command = [sys.executable, "-m", module, "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"keys/{key}.key: no such secret key" in ended.stderr


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('key = "camera"\n', "", r"network\.cameras\.line1\.key: is missing"),
        ("tcp://127.0.0.1", "tcp://0.0.0.0", r"network\.cameras\.line1\.frames = .*own IPv4 address"),
        ("tcp://127.0.0.1", "tcp://*", r"own IPv4 address"),
        ("tcp://127.0.0.1", "tcp://plant", r"own IPv4 address"),
        ("tcp://127.0.0.1:", "tcp://127.0.0.1:0", r"own IPv4 address"),
        ("tcp://127.0.0.1", "udp://127.0.0.1", r"own IPv4 address"),
        ("tcp://127.0.0.1:", "tcp://127.0.0.1:9", r"own IPv4 address"),
        ("[network.cameras.line1]", "[network.cameras.line2]", r"network\.cameras\.line2`: there is no such"),
        ('[network.detectors.main]\nkey = "detector"\n', "", r"network\.detectors\.main` is missing"),
        ("[network.detectors.main]", "[network.detectors.other]", r"network\.detectors\.main` is missing"),
        ('key = "results"\n', "", r"network\.results\.key: is missing"),
    ],
)
def test_wrong_network_is_told(config: Path, before: str, after: str, told: str) -> None:
    """TCP without a key, or at an address that cannot be bound and connected to, is one line."""
    config.write_text(config.read_text().replace(before, after, 1))
    with pytest.raises(BadInput, match=told) as caught:
        load_settings(config)
    assert "\n" not in str(caught.value)


def test_two_doors_at_one_endpoint_are_told(config: Path) -> None:
    """The second could not be bound."""
    settings = load_settings(config)
    text = config.read_text().replace(settings.results_endpoint(), settings.camera_endpoint("line1"))
    config.write_text(text)
    with pytest.raises(BadInput, match=r"is given twice"):
        load_settings(config)
