"""`alfa-prompts` on a box with lines: what `alfa.cli.prompts` does with files, and their way into a line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfa.cli import prompts as files
from alfa.cli.entry import run
from alfa.cli.options import PROMPTS_DIRECTORY
from alfa.errors import BadInput
from alfa.images import list_images
from alfa.prompting.changes import changes
from alfa.prompting.promptset import find_prompt_file, load_prompt_set
from edge.prompts import applying, history
from edge.prompts.good_parts import good_pictures
from edge.prompts.place import Place, chosen_line, place_of_class, place_of_line
from edge.prompts.running import running_set
from edge.prompts.tables import change_lines, history_table, rehearsal_table
from edge.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Prompt files, and what a line is judged with.")
app.add_typer(files.app)

EXIT_DIFFERENT = 1
_RUNNING = "running"

FileArgument = Annotated[str, typer.Argument(metavar="FILE|CLASS", help="Prompt file or class.")]
BoxOption = Annotated[Path, typer.Option("--config", help="The file that describes the box.")]
LineOption = Annotated[
    str | None, typer.Option("--line", help="Line of the config.", show_default="the only one")
]
ClassOption = Annotated[str | None, typer.Option("--class", help="Instead of a line, a class.")]
ReloadOption = Annotated[bool, typer.Option("--reload", help="Have the detectors reload, by systemctl.")]

_BOX = Path("config.toml")


@app.command()
def diff(
    file: FileArgument,
    against: Annotated[
        str, typer.Option("--against", metavar="FILE|CLASS|running", help="What it is compared with.")
    ] = _RUNNING,
    line: LineOption = None,
    config: BoxOption = _BOX,
) -> None:
    """Print what a prompt set has and another has not (+), the reverse (-), and what changed side (>).

    `running` is what judged the line's last part. Exit 0: nothing differs, 1: something does.
    """
    new_path = find_prompt_file(file, PROMPTS_DIRECTORY)
    new = load_prompt_set(new_path)
    if against == _RUNNING:
        settings = load_settings(config)
        running = running_set(settings, chosen_line(config, settings, line))
        origin, old = str(running), running.prompt_set
    else:
        old_path = find_prompt_file(against, PROMPTS_DIRECTORY)
        origin, old = str(old_path), load_prompt_set(old_path)
    found = changes(old, new)
    _print(f"{origin} -> {new_path}", *change_lines(found))
    if found:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def rehearse(
    file: FileArgument,
    line: LineOption = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", help="Take good parts out of this record.", show_default="the box's own"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="A directory of good parts instead of the record.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Judge at most N parts, the newest.")] = 50,
    config: BoxOption = _BOX,
) -> None:
    """Judge good parts with the running prompts and with these: would verdicts have changed?

    Exit 0: none would, 1: at least one.
    """
    if record is not None and images is not None:
        raise BadInput("--images", "", str(images), "give one of --record and --images")
    settings = load_settings(config)
    name = chosen_line(config, settings, line)
    new = find_prompt_file(file, PROMPTS_DIRECTORY)
    load_prompt_set(new)
    pictures = _good_parts(settings, name, record, images, limit)
    running = running_set(settings, name)
    # Seconds to import, and only needed here.
    from edge.prompts.rehearsal import rehearse as judge_twice

    rehearsal = judge_twice(settings.model, settings.lines[name], running.path, new, pictures)
    _print(f"{running} -> {new}")
    Console().print(rehearsal_table(name, rehearsal))
    if rehearsal.changed:
        raise typer.Exit(EXIT_DIFFERENT)


@app.command()
def apply(
    file: FileArgument,
    line: LineOption = None,
    class_name: ClassOption = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Thresholds for these prompts, where the line is calibrated."),
    ] = None,
    reload: ReloadOption = False,
    config: BoxOption = _BOX,
) -> None:
    """Put a prompt set in force: check it, keep the old one in the history, replace the file, reload.

    The detector goes on judging with the old set until it has loaded the new one, and where it refuses that.
    """
    settings = load_settings(config)
    place = _place(config, settings, line, class_name)
    calibrations = _calibrations(config, settings, line, class_name, calibration)
    _put_in_force(place, find_prompt_file(file, PROMPTS_DIRECTORY), calibrations, reload)


@app.command("history")
def show_history(line: LineOption = None, class_name: ClassOption = None, config: BoxOption = _BOX) -> None:
    """Print the prompt sets that were in force before, newest first."""
    place = _place(config, load_settings(config), line, class_name)
    entries = history.entries(place)
    if entries:
        Console().print(history_table(place.name, entries))
    else:
        _print(f"{place.name}: no other set was in force before; `alfa-prompts apply` keeps what it replaces")


@app.command()
def rollback(
    prompts_hash: Annotated[
        str | None,
        typer.Argument(metavar="HASH", help="First digits of a hash.", show_default="the set before"),
    ] = None,
    line: LineOption = None,
    class_name: ClassOption = None,
    reload: ReloadOption = False,
    config: BoxOption = _BOX,
) -> None:
    """Put a set of the history in force again, with its calibrations; the present one is kept there."""
    place = _place(config, load_settings(config), line, class_name)
    entry = history.before(place) if prompts_hash is None else history.find(place, prompts_hash)
    _put_in_force(place, entry.path, entry.calibrations, reload)


def _good_parts(
    settings: Settings, line: str, record: Path | None, images: Path | None, limit: int
) -> list[Path]:
    if images is not None:
        return list_images(images)[-limit:]
    database = settings.database if record is None else record
    # The service keeps both in one directory.
    return good_pictures(database, database.parent / settings.results.evidence, line, limit)


def _place(config: Path, settings: Settings, line: str | None, class_name: str | None) -> Place:
    if line is not None and class_name is not None:
        raise BadInput("--class", "", class_name, "a line has its own class; give one of --line and --class")
    if class_name is not None:
        return place_of_class(settings, class_name)
    return place_of_line(settings, chosen_line(config, settings, line))


def _calibrations(
    config: Path, settings: Settings, line: str | None, class_name: str | None, calibration: Path | None
) -> dict[str, Path]:
    """The calibration that comes with a prompt set, by its line."""
    if calibration is None:
        return {}
    if class_name is not None:
        raise BadInput("--calibration", "", str(calibration), "is one line's; give --line instead of --class")
    named = chosen_line(config, settings, line)
    if settings.lines[named].calibration is None:
        advice = "is not set, so that --calibration has no place; add it and restart the detector"
        raise BadInput(config, f"lines.{named}.calibration", None, advice)
    return {named: calibration}


def _put_in_force(place: Place, prompts: Path, calibrations: Mapping[str, Path], reload: bool) -> None:
    replacement = applying.plan(place, prompts, calibrations)
    now = f"{place.path}: hash {replacement.prompt_set.content_hash}"
    if applying.is_in_force(replacement):
        _print(f"{now} is in force already")
    else:
        kept = applying.put_in_force(replacement)
        _print(f"{now} is in force" + (f", the file before it is {kept.path}" if kept else ""))
    if not place.lines:
        _print("no line of the config uses it")
    elif reload:
        applying.have_reloaded(place)
        _print("asked to reload; `systemctl status` says what the detector judges with")
    else:
        _print("to be loaded:", *(shlex.join(applying.reload_command(name)) for name in place.detectors))


def _print(*lines: str) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for line in lines:
        console.print(line, markup=False)


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
