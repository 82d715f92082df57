"""Key files: who may read them, what they may hold, and that a secret is shown nowhere."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import zmq
from typer.testing import CliRunner

from alfa.errors import BadInput
from edge.security.credentials import Credentials
from edge.security.keys import KeyDirectory, Role
from edge.security.main import app
from edge.settings import load_settings

LINE = '[lines.line1]\nprompts = "generic"\n[lines.line1.source]\nkind = "synthetic"\n'


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    """A directory with the key of one camera."""
    directory = KeyDirectory(tmp_path / "keys")
    directory.create("camera-1", Role.CAMERA)
    return directory


def secret_of(keys: KeyDirectory, name: str) -> str:
    return (keys.path / f"{name}.key").read_text().strip()


def test_new_key_is_a_pair_of_zeromq(keys: KeyDirectory) -> None:
    """The secret belongs to the public key, and comes back as it was made."""
    pair = keys.pair("camera-1", Role.CAMERA, {})
    assert zmq.curve_public(pair.secret.get_secret_value().encode()) == pair.certificate.key


def test_secret_is_for_its_owner_alone(keys: KeyDirectory) -> None:
    """Mode 0600, whatever the umask."""
    assert (keys.path / "camera-1.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_secret_that_others_may_read_is_refused(keys: KeyDirectory, mode: int) -> None:
    """One line names the file and what to do."""
    (keys.path / "camera-1.key").chmod(mode)
    with pytest.raises(BadInput, match=r"camera-1\.key: has mode 0\d{3}.*make it 0600"):
        keys.pair("camera-1", Role.CAMERA, {})


def test_credentials_of_systemd_come_first(keys: KeyDirectory, tmp_path: Path) -> None:
    """What LoadCredential= hands over is taken, and the directory's own copy not looked at."""
    (tmp_path / "camera-1.key").write_text(secret_of(keys, "camera-1"))
    (keys.path / "camera-1.key").unlink()
    pair = keys.pair("camera-1", Role.CAMERA, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert zmq.curve_public(pair.secret.get_secret_value().encode()) == pair.certificate.key


def test_secret_of_another_key_is_refused(keys: KeyDirectory) -> None:
    """A pair that does not belong together would be let in nowhere."""
    keys.create("camera-2", Role.CAMERA)
    (keys.path / "camera-1.key").write_text(secret_of(keys, "camera-2"))
    with pytest.raises(BadInput, match=r"camera-1\.key: is not the secret of .*camera-1\.pub"):
        keys.pair("camera-1", Role.CAMERA, {})


def test_key_of_another_role_is_refused(keys: KeyDirectory) -> None:
    """A detector cannot run with a camera's key."""
    with pytest.raises(BadInput, match=r"camera-1\.pub: role = 'camera': a key of role detector is needed"):
        keys.pair("camera-1", Role.DETECTOR, {})


@pytest.mark.parametrize("suffix", ["key", "pub"])
def test_missing_file_is_told(keys: KeyDirectory, suffix: str) -> None:
    """With its path."""
    (keys.path / f"camera-1.{suffix}").unlink()
    with pytest.raises(BadInput, match=rf"camera-1\.{suffix}: no such"):
        keys.pair("camera-1", Role.CAMERA, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "camera-1"\nrole = "camera"\n', "public: is missing"),
        ('name = "camera-1"\nrole = "boss"\npublic = "x"\ncreated = 2026-01-01T00:00:00Z\n', "role"),
        ("\0", "is not valid TOML"),
    ],
)
def test_damaged_certificate_is_told(keys: KeyDirectory, text: str, told: str) -> None:
    """A file of the list that cannot be read keeps a service from starting with half a list."""
    (keys.path / "camera-1.pub").write_text(text)
    with pytest.raises(BadInput, match=told):
        keys.certificates()


def test_certificate_under_another_name_is_refused(keys: KeyDirectory) -> None:
    """A renamed file would give one key two names."""
    (keys.path / "camera-1.pub").rename(keys.path / "camera-9.pub")
    with pytest.raises(BadInput, match=r"camera-9\.pub: name = 'camera-1'"):
        keys.certificates()


def test_directory_that_everybody_may_write_is_refused(keys: KeyDirectory) -> None:
    """Whoever may add a file there may come in."""
    keys.path.chmod(0o757)
    with pytest.raises(BadInput, match="anyone may add keys"):
        keys.certificates()


def test_certificate_that_everybody_may_write_is_refused(keys: KeyDirectory) -> None:
    """Whoever may write it may put a key of his own into it, though the directory is closed."""
    (keys.path / "camera-1.pub").chmod(0o646)
    with pytest.raises(BadInput, match=r"camera-1\.pub: has mode 0646: anyone may put a key"):
        keys.certificates()


def test_revoked_key_that_is_copied_here_again_by_another_name_is_let_in_no_more(keys: KeyDirectory) -> None:
    """What was stolen is the key, not its name."""
    content = (keys.path / "camera-1.pub").read_text()
    keys.revoke("camera-1")
    (keys.path / "camera-2.pub").write_text(content.replace("camera-1", "camera-2"))
    assert keys.certificates() == []
    with pytest.raises(BadInput, match=r"camera-2\.pub.*revoked under another name"):
        keys.certificate("camera-2")
    assert keys.revoke("camera-2").name == "camera-2"


def test_revoked_key_is_let_in_no_more_and_its_name_not_given_again(keys: KeyDirectory) -> None:
    """Its secret is gone from this host, too."""
    keys.revoke("camera-1")
    assert keys.certificates() == []
    assert not (keys.path / "camera-1.key").exists()
    with pytest.raises(BadInput, match="is there already"):
        keys.create("camera-1", Role.CAMERA)


def test_revoked_key_that_is_copied_here_again_is_let_in_no_more(keys: KeyDirectory) -> None:
    """Its file may come back with those of a host where it was not revoked yet."""
    content = (keys.path / "camera-1.pub").read_text()
    keys.revoke("camera-1")
    (keys.path / "camera-1.pub").write_text(content)
    assert keys.certificates() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_directory_made_by_root_is_for_the_group_that_config_is_for(tmp_path: Path) -> None:
    """As `edge-keys new` in /etc/alfa-inspector: else the services' user could not read the list."""
    os.chown(tmp_path, 0, 12345)
    keys = KeyDirectory(tmp_path / "keys")
    keys.create("camera-1", Role.CAMERA)
    made = [keys.path, keys.path / "camera-1.pub"]
    assert [(path.stat().st_gid, path.stat().st_mode & 0o777) for path in made] == [
        (12345, 0o750),
        (12345, 0o640),
    ]


def test_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """It is no empty list, and no end of a service that only reloads."""
    (tmp_path / "keys").symlink_to("keys")
    with pytest.raises(BadInput, match=r"keys: cannot be read \(Too many levels of symbolic links\)"):
        KeyDirectory(tmp_path / "keys").certificates()


@pytest.mark.parametrize("name", ["../camera", "a/b", "", ".hidden", "-x", "x" * 65])
def test_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    """A name becomes a file's name; nothing is written for one that is more."""
    with pytest.raises(BadInput, match="use letters"):
        KeyDirectory(tmp_path / "keys").create(name, Role.CAMERA)
    assert list(tmp_path.iterdir()) == []


def test_existing_key_is_not_overwritten(keys: KeyDirectory) -> None:
    """Nobody loses a key by a slip of the hand."""
    before = secret_of(keys, "camera-1")
    with pytest.raises(BadInput, match="is there already"):
        keys.create("camera-1", Role.DETECTOR)
    assert secret_of(keys, "camera-1") == before


def test_secret_is_in_no_repr_error_or_log_line(
    keys: KeyDirectory, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of the pair, nor where its file is damaged by a character too much."""
    caplog.set_level(logging.DEBUG)
    secret = secret_of(keys, "camera-1")
    pair = keys.pair("camera-1", Role.CAMERA, {})
    written = io.StringIO()  # the process-wide log may still write to where an earlier test sent it
    structlog.wrap_logger(structlog.PrintLogger(written)).warning("shown", pair=pair, secret=pair.secret)
    (keys.path / "camera-1.key").write_text(f"{secret}!")
    with pytest.raises(BadInput, match="is no secret key") as caught:
        keys.pair("camera-1", Role.CAMERA, {})
    shown = f"{pair} {pair!r} {caught.value} {written.getvalue()} {capsys.readouterr()} {caplog.text}"
    assert "shown" in shown
    assert secret not in shown


@pytest.mark.parametrize("table", ["network", "llm"])
@pytest.mark.parametrize("key", ["secret", "api_key", "token", "password"])
def test_secret_pasted_into_the_config_is_not_shown(
    write_config: Callable[..., Path], table: str, key: str
) -> None:
    """The line says that the key is unknown, without its value."""
    with pytest.raises(BadInput, match=rf"{table}\.{key}: unknown key") as caught:
        load_settings(write_config(f'[{table}]\n{key} = "hush-hush"\n{LINE}'))
    assert "hush" not in str(caught.value)


def test_secret_in_place_of_a_keys_name_is_not_shown(write_config: Callable[..., Path]) -> None:
    """A slip that is easily made: the key itself where its name belongs."""
    text = f'[network.results]\nkey = "{zmq.curve_keypair()[1].decode()} "\n{LINE}'
    with pytest.raises(BadInput, match=r"network\.results\.key: string should match") as caught:
        load_settings(write_config(text))
    assert text.split('"')[1] not in str(caught.value)


def test_commands_make_list_and_revoke(tmp_path: Path) -> None:
    """`edge-keys new`, `list`, `revoke`; no secret on the terminal."""
    run = CliRunner().invoke
    option = ["--keys", str(tmp_path / "keys")]
    made = run(app, ["new", "cam", "--role", "camera", *option])
    secret = secret_of(KeyDirectory(tmp_path / "keys"), "cam")
    before = run(app, ["list", *option])
    revoked = run(app, ["revoke", "cam", *option])
    after = run(app, ["list", *option])
    assert (made.exit_code, before.exit_code, revoked.exit_code, after.exit_code) == (0, 0, 0, 0)
    assert "camera" in before.stdout
    assert "camera" not in after.stdout
    assert "revoked" in after.stdout
    assert secret not in made.stdout + before.stdout + revoked.stdout + after.stdout


def test_without_network_no_keys_are_asked_for() -> None:
    """Everything stays ipc."""
    assert Credentials.load(None, Role.DETECTOR, "main") is None
