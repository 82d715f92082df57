"""`edge-results`: record, alarms and PLC until SIGTERM; it also prints the record and the registers."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from alfa.cli import entry
from alfa.errors import BadInput, Fault, cause
from edge.health import Health
from edge.lifecycle import Lifecycle
from edge.log_lines import configure_logging
from edge.plc.registers import MapRow, map_rows
from edge.results.export import COLUMNS, SUMMARY, Row, in_spreadsheet, since_ns, summary, verdicts
from edge.results.service import ResultsService
from edge.security.credentials import Credentials
from edge.security.keys import Role
from edge.settings import load_settings
from edge.sockets import Sockets
from edge.web import Pages

# A thread that is back from a socket or the disk waits this long for one that computes; else it is 5 ms.
_SWITCH_INTERVAL_S = 0.0005

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The file that describes the box.")] = Path("config.toml"),
) -> None:
    """Record every verdict, keep alarms until they are acknowledged, and tell the PLC."""
    if context.invoked_subcommand is None:
        _serve(config)


@app.command("plc-map")
def plc_map(
    config: Annotated[
        Path | None, typer.Option(help="Print the registers of the lines of this file.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, for the PLC's tools.")] = False,
) -> None:
    """Print the Modbus holding registers; without --config those of one line at base 0."""
    rows = _rows(config)
    if as_csv:
        writer = csv.DictWriter(sys.stdout, [field.name for field in dataclasses.fields(MapRow)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
    else:
        Console().print(_table(rows))


@app.command()
def export(
    config: Annotated[Path, typer.Option(help="The file that describes the box.")] = Path("config.toml"),
    since: Annotated[
        str, typer.Option(help="ISO 8601 date or time from which parts are told; all without it.")
    ] = "1970-01-01T00:00:00Z",
    as_csv: Annotated[bool, typer.Option("--csv", help="Every verdict, comma-separated.")] = False,
) -> None:
    """Print the recorded verdicts; without --csv, how many parts ended how. The service may be running."""
    begin_ns, database = since_ns(since), load_settings(config).database
    if as_csv:
        _write_csv(verdicts(database, begin_ns))
    else:
        Console().print(_summary(summary(database, begin_ns)))


def main() -> None:
    """Entry point of the console script."""
    entry.run(app)


def _serve(config: Path) -> None:
    settings = load_settings(config)
    log = configure_logging("results")
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with (
        Lifecycle() as lifecycle,
        Pages(settings.http.results, config, "http.results", log) as pages,
        Sockets(Credentials.load(settings.network, Role.RESULTS), log) as sockets,
    ):
        service = ResultsService(settings, lifecycle, sockets, log)
        pages.serve("results", Health(service.hearts, lifecycle))
        service.run()


def _rows(config: Path | None) -> list[MapRow]:
    if config is None:
        return list(map_rows("line", 0, 0))
    settings = load_settings(config)
    if settings.plc is None:
        raise BadInput(config, "plc", None, "there is no [plc] table; without one no PLC is driven")
    base = settings.plc.base
    return [row for name, line in settings.lines.items() for row in map_rows(name, base, line.index)]


def _write_csv(rows: Iterator[Row]) -> None:
    # Looked at before the header is written: bad input prints nothing.
    first = list(islice(rows, 1))
    writer = csv.writer(sys.stdout)
    try:
        writer.writerow(COLUMNS)
        writer.writerows(map(in_spreadsheet, chain(first, rows)))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough.
        raise
    except OSError as error:
        raise Fault("export_failed", f"the output cannot be written: {cause(error)}") from error


def _summary(rows: Sequence[Row]) -> Table:
    table = Table(title="Parts in the record", box=SIMPLE)
    for name in SUMMARY:
        # A number or a time that is cut short would be another one.
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _table(rows: Sequence[MapRow]) -> Table:
    """As much as fits on a terminal; the CSV has the rest."""
    table = Table(title="Modbus holding registers, addresses from 0")
    for name in ("line", "address", "name", "bits", "written by"):
        table.add_column(name, no_wrap=True)
    table.add_column("meaning")
    for row in rows:
        table.add_row(row.line, str(row.address), row.name, row.bits, row.written_by, row.meaning)
    return table


if __name__ == "__main__":
    main()
