"""config.toml: a wrong entry is told by file, key and value; a right one arrives typed and absolute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alfa.errors import BadInput
from edge.settings import FolderSource, SyntheticSource, load_settings

LINE = '[lines.{name}]\nprompts = "generic"\n{more}\n[lines.{name}.source]\nkind = "synthetic"\n'


def line(name: str = "line1", more: str = "") -> str:
    return LINE.format(name=name, more=more)


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        (line() + "colour = 1", "lines.line1.source.colour", "unknown key"),
        ("[detektor]\n" + line(), "detektor", "unknown key"),
        ("[model]\nnme = 'x'\n" + line(), "model.nme", "unknown key"),
        ("[detector]\nqueue = 'many'\n" + line(), "detector.queue", "valid integer"),
        (line(more="max_side = 63"), "lines.line1.max_side", "give 0 or at least 64"),
        ("[detector]\nqueue = 0\n" + line(), "detector.queue", "greater than or equal to 1"),
        ("[plc]\nport = 70000\n" + line(), "plc.port", "less than or equal to 65535"),
        ("[plc]\nhost = 'plc.local'\n" + line(), "plc.host", "give the IP address of the PLC"),
        ("[plc]\nheartbeat_ms = 334\n" + line(), "plc", "`heartbeat_ms` (334) must be at most a third"),
        ("[plc]\ntimeout_ms = 1001\n" + line(), "plc", "`timeout_ms` (1001) must be at most"),
        ("[plc]\necho_timeout_ms = 599\n" + line(), "plc", "must be 0 or at least three heartbeats (600)"),
        (line(more="overload = 'some'"), "lines.line1.overload", "'every' or 'latest'"),
        (line(more="alarm = {k = 3, n = 2}"), "lines.line1.alarm", "k parts cannot be among fewer"),
        ("[lines.a]\nprompts = 'x'", "lines.a.source", "is missing"),
        ("[lines.a]\nprompts = 'x'\nsource = {kind = 'telepathy'}", "lines.a.source", "'folder'"),
        ("[lines.a]\nprompts = '../x'\nsource = {kind = 'synthetic'}", "lines.a.prompts", "pattern"),
        ("[lines.a]\nprompts = 'x'\nsource = {kind = 'folder'}", "lines.a.source.path", "is missing"),
        ("[http]\nresults = '9460'\n" + line(), "http.results", "write HOST:PORT"),
        ("[http]\ncameras.line1 = ':1'\n" + line(), "http.cameras.line1", "write HOST:PORT"),
        ("[http]\nresults = 'a:1'\ndetectors.main = 'a:1'\n" + line(), "http", "a:1 is named twice"),
        ("", "lines", "is missing"),
        ("[lines]", "lines", "at least 1"),
    ],
)
def test_wrong_entry_is_named(write_config: Callable[..., Path], text: str, key: str, advice: str) -> None:
    """The error names the file, the dotted key and what is expected."""
    path = write_config(text)
    with pytest.raises(BadInput) as caught:
        load_settings(path)
    assert (caught.value.where, caught.value.key) == (str(path), key)
    assert advice in caught.value.advice
    assert "\n" not in str(caught.value)


def test_deadline_of_missing_verdicts_is_above_the_age_of_frames(write_config: Callable[..., Path]) -> None:
    """A part that may still be judged must not be recorded as never judged."""
    text = "[results]\nno_verdict_after_ms = 5000\n" + line(more="max_age_ms = 5000")
    with pytest.raises(BadInput, match=r"`results\.no_verdict_after_ms` \(5000\) must be above"):
        load_settings(write_config(text))


@pytest.mark.parametrize("key", ["detectors.line1", "cameras.main"])
def test_pages_of_a_service_that_is_not_there(write_config: Callable[..., Path], key: str) -> None:
    """A misspelt name would silently have no pages."""
    with pytest.raises(BadInput, match=rf"`http\.{key}`: there is none; there are"):
        load_settings(write_config(f"[http]\n{key} = '127.0.0.1:1'\n" + line()))


def test_loss_must_reach_the_plc_within_a_second(write_config: Callable[..., Path]) -> None:
    """A later deadline is for boxes without a PLC, or for whoever says that the machine can wait."""
    text = "[results]\nlost_after_ms = 901\n" + line()
    load_settings(write_config(text))
    with pytest.raises(BadInput, match=r"`results\.lost_after_ms` \(901\) must be at most 900"):
        load_settings(write_config("[plc]\n" + text))
    load_settings(write_config("[plc]\nsafe_within_ms = 1001\n" + text))


def test_wrong_value_is_shown(write_config: Callable[..., Path]) -> None:
    """The line holds the value as it was given."""
    with pytest.raises(BadInput, match=r"detector\.queue = 'many'"):
        load_settings(write_config("[detector]\nqueue = 'many'\n" + line()))


def test_missing_file(runtime_dir: Path) -> None:
    """A config that is not there is bad input, not a traceback."""
    with pytest.raises(BadInput, match="no such file"):
        load_settings(runtime_dir / "nowhere.toml")


def test_directory_instead_of_file(runtime_dir: Path) -> None:
    """A path that cannot be read as a file says so."""
    with pytest.raises(BadInput, match="cannot be read"):
        load_settings(runtime_dir)


def test_malformed_toml(write_config: Callable[..., Path]) -> None:
    """The parser's own line number is passed on."""
    with pytest.raises(BadInput, match="line 2"):
        load_settings(write_config("[detector]\nqueue = = 3\n"))


def test_not_utf8(runtime_dir: Path) -> None:
    """A file in another encoding is told apart from malformed TOML."""
    path = runtime_dir / "config.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(BadInput, match="UTF-8"):
        load_settings(path)


@pytest.mark.parametrize("name", ["a/b", ".hidden", "two words", "x" * 65, "ä"])
def test_line_name_that_would_not_fit_a_topic(write_config: Callable[..., Path], name: str) -> None:
    """A name goes into topics, socket and file names: only what is safe in all of them."""
    with pytest.raises(BadInput, match="use letters, digits"):
        load_settings(write_config(line(f'"{name}"')))


def test_two_lines_on_the_same_registers(write_config: Callable[..., Path]) -> None:
    """With a PLC each line needs an index of its own."""
    with pytest.raises(BadInput, match=r"config\.toml: two lines have the same `index`"):
        load_settings(write_config("[plc]\n" + line("a") + line("b")))


def test_same_index_without_a_plc(write_config: Callable[..., Path]) -> None:
    """Without a PLC nobody uses the index."""
    assert set(load_settings(write_config(line("a") + line("b"))).lines) == {"a", "b"}


def test_runtime_path_too_long_for_a_socket(write_config: Callable[..., Path]) -> None:
    """A path that the system would cut is refused before anything is bound."""
    with pytest.raises(BadInput, match=r"paths\.runtime.*shorter path"):
        load_settings(write_config(f'[paths]\nruntime = "{"d" * 90}"\n' + line()))


def test_environment_wins_over_the_file(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALFA__DETECTOR__QUEUE overrides [detector] queue and leaves its neighbours alone."""
    monkeypatch.setenv("ALFA__DETECTOR__QUEUE", "7")
    settings = load_settings(write_config("[detector]\nqueue = 5\nmax_batch = 3\n" + line()))
    assert (settings.detector.queue, settings.detector.max_batch) == (7, 3)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ALFA__DETECTOR__QUEUE", "0", "ALFA__DETECTOR__QUEUE = '0': input should be greater"),
        ("alfa__detector__queue", "0", "alfa__detector__queue = '0': input should be greater"),
        ("ALFA__DETECTOR__QUEU", "7", "ALFA__DETECTOR__QUEU = '7': unknown key"),
        ("ALFA__DETECTOR", '{"queue": 0}', "ALFA__DETECTOR (detector.queue) = 0: input should be greater"),
        ("ALFA__LINES__A__INDEX", "3", "ALFA__LINES__A__INDEX (lines.a.source): is missing"),
        ("ALFA__RESULTS__NO_VERDICT_AFTER_MS", "600", "ALFA__RESULTS__NO_VERDICT_AFTER_MS: `results.no_"),
    ],
)
def test_wrong_value_in_the_environment_is_told_by_its_variable(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    """Checked as strictly as the file, in which whoever reads the line would look for it in vain."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput) as caught:
        load_settings(write_config("[detector]\nqueue = 5\n" + line()))
    assert str(caught.value).startswith(f"environment: {told}")


def test_wrong_value_in_the_file_is_the_files(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the environment sets something else."""
    monkeypatch.setenv("ALFA__DETECTOR__MAX_BATCH", "2")
    with pytest.raises(BadInput, match=r"config\.toml: detector\.queue = 0"):
        load_settings(write_config("[detector]\nqueue = 0\n" + line()))


def test_unknown_table_in_the_environment_is_bad_input(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in a variable's name is told, instead of having no effect."""
    monkeypatch.setenv("ALFA__DETECTR__QUEUE", "7")
    with pytest.raises(BadInput, match=r"environment: ALFA__DETECTR__QUEUE: no table 'detectr'.* detector,"):
        load_settings(write_config(line()))


def test_environment_that_cannot_be_parsed_is_bad_input(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table in a variable must be JSON; anything else is told, not a traceback."""
    monkeypatch.setenv("ALFA__LINES", "{oops")
    with pytest.raises(BadInput, match=r"environment.*lines"):
        load_settings(write_config(line()))


def test_relative_paths_are_seen_from_the_file(write_config: Callable[..., Path]) -> None:
    """A service's working directory does not matter."""
    text = (
        '[paths]\nstate = "records"\n[lines.a]\nprompts = "generic"\nbank = "banks/a.safetensors"\n'
        '[lines.a.source]\nkind = "folder"\npath = "images"\n'
    )
    path = write_config(text)
    settings = load_settings(path)
    home = path.parent.resolve()
    source = settings.lines["a"].source
    assert isinstance(source, FolderSource)
    assert settings.paths.state == home / "records"
    assert settings.lines["a"].bank == home / "banks/a.safetensors"
    assert source.path == home / "images"


def test_absolute_paths_stay(write_config: Callable[..., Path]) -> None:
    """systemd's own directories are taken as they are."""
    settings = load_settings(write_config('[paths]\nruntime = "/run/alfa"\n' + line()))
    assert settings.camera_endpoint("line1") == "ipc:///run/alfa/camera-line1.sock"


def test_lines_of_a_detector(write_config: Callable[..., Path]) -> None:
    """Each detector gets the lines that name it, and only those."""
    text = line("a") + line("b", "detector = 'second'\nindex = 1") + line("c", "index = 2")
    settings = load_settings(write_config(text))
    assert settings.detectors() == ["main", "second"]
    assert list(settings.lines_of("main")) == ["a", "c"]
    assert list(settings.lines_of("second")) == ["b"]


def test_a_megabyte_is_a_million_bytes(write_config: Callable[..., Path]) -> None:
    """For frames that wait as for pictures that are kept."""
    text = line(more="frame_buffer_mb = 3") + "[results]\nevidence_max_mb = 5\n"
    settings = load_settings(write_config(text))
    assert settings.lines["line1"].frame_buffer_bytes == 3_000_000
    assert settings.results.evidence_max_bytes == 5_000_000


def test_shortest_config_has_defaults_for_the_rest(write_config: Callable[..., Path]) -> None:
    """One line with a source and a prompt set is a whole configuration; no PLC is driven unasked."""
    settings = load_settings(write_config(line()))
    assert settings.plc is None
    assert settings.lines["line1"].source == SyntheticSource(kind="synthetic")
