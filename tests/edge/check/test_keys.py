"""Keys on the disk as `edge-keys` makes them, and as people then leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.check.findings import Finding, Outcome
from edge.check.keys import check_keys
from edge.processes import free_port
from edge.security.keys import KeyDirectory, Role
from edge.settings import load_settings

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


@pytest.fixture
def keys(runtime_dir: Path) -> KeyDirectory:
    """Three keys, in the directory that the config names by default."""
    directory = KeyDirectory(runtime_dir / "keys")
    for name, role in (("cam", Role.CAMERA), ("det", Role.DETECTOR), ("res", Role.RESULTS)):
        directory.create(name, role)
    return directory


@pytest.fixture
def look(write_config: Callable[..., Path]) -> Callable[..., dict[str, Finding]]:
    """`look(camera)` is what is found where the camera's key is this one, by subject."""

    def findings(camera: str = "cam") -> dict[str, Finding]:
        frames = f"tcp://127.0.0.1:{free_port()}"
        network = (
            f'[network]\ncameras.line1 = {{ key = "{camera}", frames = "{frames}" }}\n'
            'detectors.main = { key = "det" }\nresults = { key = "res" }\n'
        )
        return {each.subject: each for each in check_keys(load_settings(write_config(network + LINE)))}

    return findings


def test_keys_of_every_service(look: Callable[..., dict[str, Finding]], keys: KeyDirectory) -> None:
    """Each is there, of its role, and its secret is its owner's alone."""
    found = look()
    assert found.keys() == {str(keys.path), "cam", "det", "res"}
    assert {each.outcome for each in found.values()} == {Outcome.OK}
    assert "3 keys are let in" in found[str(keys.path)].detail


def test_a_secret_that_others_may_read(look: Callable[..., dict[str, Finding]], keys: KeyDirectory) -> None:
    """Its service would not start; the secret itself is not shown."""
    secret = keys.path / "det.key"
    secret.chmod(0o644)
    found = look()["det"]
    assert (found.outcome, "0644" in found.detail) == (Outcome.FAIL, True)
    assert secret.read_text().strip() not in found.detail


def test_a_secret_elsewhere_is_not_missed(
    look: Callable[..., dict[str, Finding]], keys: KeyDirectory
) -> None:
    """It is on its own host, or systemd hands it to the service alone."""
    (keys.path / "cam.key").unlink()
    found = look()["cam"]
    assert (found.outcome, "another host" in found.detail) == (Outcome.OK, True)


@pytest.mark.parametrize("key", ["none", "det"])
def test_a_key_that_is_missing_or_of_another_role(
    look: Callable[..., dict[str, Finding]], keys: KeyDirectory, key: str
) -> None:
    """The camera could not bind its endpoint."""
    keys.certificates()
    found = [each for each in look(camera=key).values() if each.outcome is Outcome.FAIL]
    assert len(found) == 1
    assert "edge-keys new" in found[0].advice


def test_without_a_network_no_keys_are_needed(write_config: Callable[..., Path]) -> None:
    """Everything stays on the box."""
    (found,) = check_keys(load_settings(write_config(LINE)))
    assert found.outcome is Outcome.OK
