"""Errors that a person reads: one line, with where, what, the value and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from alfa.cli.entry import run
from alfa.errors import AlfaError, BadInput, Fault, cause


def nested_too_deeply() -> list[object]:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def test_bad_input_names_everything() -> None:
    """File, key, value, advice, in this order."""
    error = BadInput(Path("config.toml"), "lines.a.index", 300, "at most 255")
    assert str(error) == "config.toml: lines.a.index = 300: at most 255"


def test_bad_input_about_a_whole_file() -> None:
    """Without key and value only the file and the advice are shown."""
    assert str(BadInput("config.toml", "", None, "no such file")) == "config.toml: no such file"


def test_value_without_a_key_is_shown() -> None:
    """An argument's own value needs no key."""
    assert str(BadInput("--alpha", "", 2.0, "between 0 and 1")) == "--alpha = 2.0: between 0 and 1"


def test_false_values_are_shown() -> None:
    """Zero, empty and false are values; only None is none."""
    assert "key = 0:" in str(BadInput("f", "key", 0, "more than 0"))
    assert "key = '':" in str(BadInput("f", "key", "", "not empty"))


@given(st.text(max_size=300) | st.lists(st.text(), max_size=40))
def test_any_value_keeps_to_one_short_line(value: object) -> None:
    """Newlines and long values do not tear the line apart."""
    line = str(BadInput("f", "key", value, "something else"))
    assert len(line.splitlines()) == 1
    assert len(line) <= len("f: key = : something else") + 80


@pytest.mark.parametrize(
    ("value", "shown"),
    [(nested_too_deeply(), "<list>"), (int("f" * 5000, 16), "<int>")],
    ids=["deep", "long"],
)
def test_value_that_python_cannot_print_is_named_by_its_type(value: object, shown: str) -> None:
    """A file may hold lists in lists without end, or a number too long to be written in decimal."""
    assert str(BadInput("f", "key", value, "something else")) == f"f: key = {shown}: something else"


def test_fault_has_a_name_for_counters() -> None:
    """The fixed name comes first, the detail after it."""
    fault = Fault("camera_lost", "no image for 5 s")
    assert (fault.name, str(fault)) == ("camera_lost", "camera_lost: no image for 5 s")


@pytest.mark.parametrize(
    ("error", "code"), [(BadInput("f", "k", 1, "2 or more"), 2), (Fault("disk_full", "var"), 3)]
)
def test_command_ends_with_one_line_and_its_code(
    error: AlfaError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong input is 2, a fault at run time 3; stdout stays clean for what reads it."""
    app = typer.Typer()

    @app.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as caught:
        run(app)
    assert caught.value.code == code
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_command_that_works_ends_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, exit code 0."""
    app = typer.Typer()

    @app.command()
    def works() -> None:
        return

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as caught:
        run(app)
    assert caught.value.code == 0


def test_a_librarys_message_becomes_one_short_line_without_the_secret() -> None:
    """Line breaks go, length is bounded, a key is hidden, and silence gives the error's type."""
    assert cause(OSError("no\n  route")) == "no route"
    assert cause(OSError("bad key sk-1 given"), secret="sk-1") == "bad key *** given"
    assert len(cause(OSError("x" * 500))) == 160
    assert cause(EOFError()) == "EOFError"
