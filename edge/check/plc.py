"""The PLC: can it be reached, and may its registers be written?"""

from __future__ import annotations

from collections.abc import Iterator

from edge.check.findings import Check, Finding
from edge.check.running import is_served
from edge.plc.link import Link, LinkError
from edge.plc.registers import CONTROL_LENGTH, IMAGE_LENGTH, control_address, image_address
from edge.settings import PlcSettings, Settings

_REACH = "check address, port, unit id and network; the PLC's Modbus TCP server must be on"
_WRITE = (
    "a Modbus TCP server with this unit id must be there and accept writes to these holding registers; "
    "`edge-results plc-map` lists them"
)


def check_plc(settings: Settings) -> Iterator[Finding]:
    """One finding of the connection, and one of the registers of each line."""
    if settings.plc is None:
        yield Check("plc", "").ok("no [plc] table: none is driven")
        return
    check = Check("plc", f"{settings.plc.host}:{settings.plc.port}")
    try:
        with Link(settings.plc) as link:
            yield check.ok("can be connected to")
            is_driven = is_served(settings.results_endpoint())
            for name, line in settings.lines.items():
                yield _check_line(link, settings.plc, name, line.index, is_driven)
    except LinkError as error:
        yield check.fail(str(error), _REACH)


def _check_line(link: Link, plc: PlcSettings, name: str, index: int, is_driven: bool) -> Finding:
    """Registers are written with what they hold, so that the PLC sees no change."""
    check = Check("plc registers", name)
    address = image_address(plc.base, index)
    try:
        held = link.read(address, IMAGE_LENGTH)
        link.read(control_address(plc.base, index), CONTROL_LENGTH)
        if is_driven:
            return check.ok("readable; edge-results runs and writes them")
        link.write(address, held)
        kept = link.read(address, IMAGE_LENGTH) == held
    except LinkError as error:
        return check.fail(str(error), _WRITE)
    where = f"{address} to {address + IMAGE_LENGTH - 1}"
    if not kept:
        return check.fail(f"registers {where} change though nobody writes them", _WRITE)
    return check.ok(f"registers {where} can be read and written")
