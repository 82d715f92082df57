"""The results service on real sockets, a real database and a real Modbus server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import pytest
import structlog

from edge.messages import (
    AnomalyMap,
    EarlierStart,
    FaultCode,
    FaultReason,
    MapHeader,
    Result,
    ServiceState,
    verdict_topic,
)
from edge.plc.registers import Control, ResultCode
from edge.results.evidence import evidence_path

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.edge.conftest import StandInPlc
    from tests.edge.results.conftest import Box, MakeVerdict

OPEN_ALARMS = "SELECT kind, code, seq FROM alarms WHERE acknowledged_wall_ns IS NULL ORDER BY id"


@contextmanager
def locked(box: Box) -> Iterator[None]:
    """Another program holds the database, so that nothing can be written: as with a full disk."""
    with closing(sqlite3.connect(box.database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_verdicts_are_recorded(box: Box, make_verdict: MakeVerdict) -> None:
    """Each once, with its result; the beat counts them."""
    box.captured = 3
    box.publish(make_verdict(0), make_verdict(1, Result.NG), make_verdict(2, Result.FAULT))
    box.until(lambda: box.counter("recorded") == 3)
    assert box.rows() == [(0, "OK", ""), (1, "NG", ""), (2, "FAULT", "stale")]
    assert [box.counter(name) for name in ("ok", "ng", "fault")] == [1, 1, 1]
    assert box.told is not None
    assert box.told.last_seq == 2


def test_a_second_verdict_is_counted_and_ignored(box: Box, make_verdict: MakeVerdict) -> None:
    """In one burst or later: the first one stays."""
    box.captured = 1
    box.publish(make_verdict(0, Result.NG), make_verdict(0, Result.OK))
    box.until(lambda: box.counter("duplicate") == 1)
    box.publish(make_verdict(0, Result.OK))
    box.until(lambda: box.counter("duplicate") == 2)
    assert box.rows() == [(0, "NG", "")]


def test_missing_verdict_becomes_a_fault(make_box: Callable[..., Box], make_verdict: MakeVerdict) -> None:
    """The camera counted three parts and two were judged; the verdict that comes too late is counted."""
    box = make_box(patience_ms=1500)
    box.until_ready()
    box.captured = 3
    box.publish(make_verdict(0), make_verdict(2))
    box.until(lambda: box.counter("no_verdict") == 1)
    assert box.rows() == [(0, "OK", ""), (1, "FAULT", "no_verdict"), (2, "OK", "")]
    box.publish(make_verdict(1))
    box.until(lambda: box.counter("late") == 1)
    assert box.rows()[1] == (1, "FAULT", "no_verdict")


def test_part_in_hand_of_a_killed_camera_becomes_a_fault(
    make_box: Callable[..., Box], make_verdict: MakeVerdict
) -> None:
    """No beat of the killed camera told of its third part; the next start's does."""
    box = make_box(patience_ms=1500)
    box.until_ready()
    box.captured = 2
    box.publish(make_verdict(0), make_verdict(1))
    box.until(lambda: box.counter("recorded") == 2)
    box.camera_epoch, box.captured, box.earlier = 8, 0, (EarlierStart(7, 3),)
    box.until(lambda: box.counter("no_verdict") == 1)
    assert box.rows() == [(0, "OK", ""), (1, "OK", ""), (2, "FAULT", "no_verdict")]


def test_start_of_a_camera_that_nobody_heard_is_accounted_for(
    make_box: Callable[..., Box], make_verdict: MakeVerdict
) -> None:
    """It came and was killed while this service was away, after a start that the record knows."""
    box = make_box(patience_ms=1500)
    box.until_ready()
    box.captured = 1
    box.publish(make_verdict(0))
    box.until(lambda: box.counter("recorded") == 1)
    box.camera_epoch, box.captured, box.earlier = 9, 0, (EarlierStart(8, 1), EarlierStart(7, 1))
    box.until(lambda: box.counter("no_verdict") == 1)
    query = "SELECT epoch, seq, fault FROM verdicts ORDER BY epoch"
    assert box.rows(query) == [(7, 0, ""), (8, 0, "no_verdict")]


def test_earlier_start_of_another_record_is_none_of_this_one(make_box: Callable[..., Box]) -> None:
    """A record that was begun anew owes nothing to parts from before: a count of them adds no rows."""
    box = make_box(patience_ms=300)
    box.earlier = (EarlierStart(6, 50_000), EarlierStart(5, 50_000))
    box.captured = 2
    box.until(lambda: box.counter("no_verdict") == 2)
    assert box.rows("SELECT DISTINCT epoch FROM verdicts") == [(7,)]


def test_gap_is_filled_by_replay(make_box: Callable[..., Box], make_verdict: MakeVerdict) -> None:
    """A verdict that got lost on the way is asked for before its part is given up."""
    box = make_box(patience_ms=4000)
    box.until_ready()
    box.until(lambda: box.replays_asked == 1)  # at the detector's start, when there is nothing yet
    box.captured = 2
    box.history = [make_verdict(seq) for seq in range(2)]
    box.publish(make_verdict(1))
    box.until(lambda: box.counter("recorded") == 2)
    assert box.rows() == [(0, "OK", ""), (1, "OK", "")]
    assert box.counter("duplicate") == 0


def test_restarted_service_fills_its_gap(box: Box, make_verdict: MakeVerdict) -> None:
    """What was published while it was away comes by replay; what it has recorded is not recorded twice."""
    box.captured = 1
    box.publish(make_verdict(0))
    box.until(lambda: box.counter("recorded") == 1)
    box.stop()
    box.history = [make_verdict(seq) for seq in range(3)]
    box.captured = 3
    box.start()
    box.until(lambda: len(box.rows()) == 3)
    box.until_ready()
    assert box.counter("no_verdict") == 0


def test_captured_parts_are_remembered_over_a_restart(
    make_box: Callable[..., Box], make_verdict: MakeVerdict
) -> None:
    """Service and camera are both restarted: the old camera's last parts still become FAULT(no_verdict)."""
    box = make_box(patience_ms=1500)
    box.until_ready()
    box.captured = 2
    box.publish(make_verdict(0))
    box.until(lambda: box.rows("SELECT captured FROM epochs") == [(2,)] and len(box.rows()) == 1)
    box.stop()
    box.camera_epoch, box.captured = 8, 0
    box.start()
    box.until(lambda: len(box.rows()) == 2)
    assert box.rows() == [(0, "OK", ""), (1, "FAULT", "no_verdict")]


def test_replay_is_asked_when_a_detector_starts(box: Box) -> None:
    """Once for each start, not for each beat."""
    box.until(lambda: box.replays_asked == 1)
    box.detector_epoch = 2
    box.until(lambda: box.replays_asked == 2)


def test_undecodable_message_is_counted(box: Box, make_verdict: MakeVerdict) -> None:
    """And the next one is taken as ever."""
    box.publish_raw([verdict_topic("line1"), b"garbage"])
    box.publish(make_verdict(0))
    box.until(lambda: box.counter("recorded") == 1 and box.counter("undecodable") == 1)


def test_pictures_are_kept(box: Box) -> None:
    """Image and map as files beside the record."""
    header = MapHeader("line1", 7, 5, Result.NG, 2, 2)
    box.publish_map(AnomalyMap(header, np.ones((2, 2), np.float16), b"jpeg"))
    box.until(lambda: box.counter("evidence") == 1)
    directory = box.settings.paths.state / "evidence"
    assert evidence_path(directory, "line1", 7, 5, "jpg").read_bytes() == b"jpeg"


@pytest.mark.parametrize("service", ["camera", "detector"])
def test_silence_is_a_recorded_fault(box: Box, service: str) -> None:
    """No beat for a second: FAULT in our own beat, an alarm in the record, and back when it beats again."""
    box.beating.remove(service)
    box.until(lambda: box.told and box.told.state is ServiceState.FAULT)
    assert box.told is not None
    assert box.told.last_error == f"{service}_lost"
    box.until(lambda: box.rows(OPEN_ALARMS) == [("FAULT", FaultCode[f"{service}_lost".upper()], None)])
    box.beating.add(service)
    box.until_ready()


def test_count_that_cannot_be_true_is_a_fault_while_it_lasts(box: Box, make_verdict: MakeVerdict) -> None:
    """A broken camera beat costs no line its verdicts, and no row is written for it."""
    box.captured = 2**62
    box.until(lambda: box.told and box.told.last_error == "count_doubted")
    box.captured = 1
    box.publish(make_verdict(0))
    box.until(lambda: box.counter("recorded") == 1)
    box.until_ready()
    assert (box.rows(), box.rows("SELECT captured FROM epochs")) == ([(0, "OK", "")], [(1,)])
    assert box.counter("implausible") >= 1


def test_free_running_line_raises_no_missing_verdicts(
    make_box: Callable[..., Box], make_verdict: MakeVerdict
) -> None:
    """Frames that were skipped on purpose are no parts."""
    box = make_box(patience_ms=500)
    box.stop()
    free = box.settings.lines["line1"].model_copy(update={"overload": "latest", "free_running": True})
    box.settings = box.settings.model_copy(update={"lines": {"line1": free}})
    box.start()
    box.until_ready()
    box.captured = 100
    box.publish(make_verdict(50))
    later = time.monotonic() + 1.5
    box.until(lambda: time.monotonic() > later)
    assert box.rows() == [(50, "OK", "")]
    assert box.counter("no_verdict") == 0


def test_record_that_fails_is_a_fault_until_it_works(box: Box, make_verdict: MakeVerdict) -> None:
    """Nothing crashes; what came meanwhile is recorded afterwards, and so is the fault."""
    with locked(box):
        box.captured = 1
        box.publish(make_verdict(0))
        box.until(lambda: box.told and box.told.last_error == "record_failed")
        box.captured = 2
        box.publish(make_verdict(1))
    box.until(lambda: box.counter("recorded") == 2)
    box.until_ready()
    assert box.rows() == [(0, "OK", ""), (1, "OK", "")]
    assert box.rows(OPEN_ALARMS) == [("FAULT", FaultCode.RECORD_FAILED, None)]


@pytest.fixture
def log_that_blocks() -> Iterator[tuple[Event, Event]]:
    """A log that takes nothing from an acknowledge to the second event; the first tells of the attempt."""
    blocks, free = Event(), Event()

    def write(_log: object, _method: str, entry: EventDict) -> EventDict:
        if entry["event"] == "acknowledged":
            blocks.set()
        if blocks.is_set():
            free.wait(10)
        return entry

    structlog.configure(processors=[write, structlog.processors.KeyValueRenderer()])
    yield blocks, free
    free.set()
    structlog.reset_defaults()


class TestPlc:
    """The service with a PLC."""

    @pytest.fixture
    def box(self, make_box: Callable[..., Box], plc: StandInPlc) -> Box:
        """Ready, and shown to be so."""
        box = make_box(plc.table)
        box.until_ready()
        box.until(lambda: plc.image().ready)
        return box

    def test_verdicts_are_shown(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """Each in a write of its own, in order, with the toggle changing."""
        box.captured = 4
        box.publish(*[make_verdict(seq) for seq in range(1, 4)], make_verdict(0, Result.NG))
        box.until(lambda: plc.image().result_code is ResultCode.NG)
        shown = [image for image in plc.history() if image.result_valid]
        changes = [
            image
            for last, image in zip([None, *shown], shown, strict=False)
            if last is None or last.toggle != image.toggle
        ]
        assert [(image.seq, image.result_code.name) for image in changes] == [
            (1, "OK"),
            (2, "OK"),
            (3, "OK"),
            (0, "NG"),
        ]
        assert plc.image().part_id == 0
        assert plc.image().ng_alarm

    def test_shown_means_recorded(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """While the record cannot be written no verdict is shown, and the PLC sees the safe state."""
        box.captured = 2
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        with locked(box):
            box.publish(make_verdict(1))
            box.until(lambda: plc.image().fault)
            image = plc.image()
            assert (image.ready, image.result_ok) == (False, False)
            assert (image.fault_code, image.seq) == (FaultCode.RECORD_FAILED, 0)
        box.until(lambda: plc.image().seq == 1)
        box.until(lambda: plc.image().ready)

    @pytest.mark.parametrize("service", ["camera", "detector"])
    def test_loss_is_a_safe_state(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict, service: str
    ) -> None:
        """No ready and no OK within the time of the settings; the fault stays until acknowledged."""
        box.captured = 1
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        box.beating.remove(service)
        since = time.monotonic()
        box.until(lambda: plc.image().fault)
        assert time.monotonic() - since < 3.0
        image = plc.image()
        assert (image.ready, image.result_ok) == (False, False)
        assert image.fault_code == FaultCode[f"{service}_lost".upper()]
        assert not getattr(image, f"{service}_alive")
        box.beating.add(service)
        box.until(lambda: plc.image().ready)
        assert plc.image().fault
        plc.write(Control(acknowledge=1))
        box.until(lambda: not plc.image().fault)
        assert box.rows(OPEN_ALARMS) == []

    def test_alarm_stays_until_acknowledged(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict
    ) -> None:
        """OK parts do not clear it, the edge does, and a held acknowledge does not clear the next one."""
        box.captured = 4
        box.publish(make_verdict(0, Result.NG), make_verdict(1))
        box.until(lambda: plc.image().seq == 1)
        assert (plc.image().ng_alarm, plc.image().result_ok) == (True, True)
        plc.write(Control(acknowledge=1))
        box.until(lambda: not plc.image().ng_alarm)
        assert box.rows(OPEN_ALARMS) == []
        box.publish(make_verdict(2, Result.NG))
        box.until(lambda: plc.image().ng_alarm)
        box.publish(make_verdict(3))
        box.until(lambda: plc.image().seq == 3)
        assert (plc.image().ng_alarm, plc.image().alarm_count) == (True, 2)
        assert box.rows(OPEN_ALARMS) == [("NG", 0, 2)]

    def test_alarm_survives_a_restart(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """Nobody has acknowledged it, so it is on again."""
        box.captured = 1
        box.publish(make_verdict(0, Result.NG))
        box.until(lambda: plc.image().ng_alarm)
        box.stop()
        plc.stop()
        plc.start()
        box.start()
        box.until(lambda: plc.image().ng_alarm)
        assert plc.image().alarm_count == 1

    def test_reset_starts_over(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """Alarm, count and shown result are gone."""
        box.captured = 1
        box.publish(make_verdict(0, Result.NG))
        box.until(lambda: plc.image().ng_alarm)
        plc.write(Control(reset=1))
        box.until(lambda: not plc.image().ng_alarm)
        image = plc.image()
        assert (image.alarm_count, image.result_valid, image.result_code) == (0, False, ResultCode.NONE)

    def test_paused_line_records_and_shows_nothing(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict
    ) -> None:
        """And goes on with the next part afterwards."""
        box.captured = 3
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        plc.write(Control(pause=1))
        box.until(lambda: plc.image().paused)
        box.publish(make_verdict(1))
        box.until(lambda: box.counter("not_shown") == 1)
        image = plc.image()
        assert (image.ready, image.result_valid, image.result_ok) == (False, False, False)
        assert box.told is not None
        assert box.told.state is ServiceState.PAUSED
        plc.write(Control(pause=0))
        box.until(lambda: plc.image().ready)
        box.publish(make_verdict(2))
        box.until(lambda: plc.image().result_ok)
        assert (plc.image().seq, len(box.rows())) == (2, 3)

    def test_plc_that_comes_back(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """It sees no old OK, learns of the loss as a latched fault, and the record has all parts."""
        box.captured = 3
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        plc.stop()
        box.until(lambda: box.told and box.told.state is ServiceState.FAULT)
        box.publish(make_verdict(1))
        box.until(lambda: box.counter("recorded") == 2)
        plc.start()
        box.until(lambda: plc.image().ready)
        assert not any(image.result_ok for image in plc.history())
        assert (plc.image().fault, plc.image().fault_code) == (True, FaultCode.PLC_LOST)
        box.publish(make_verdict(2))
        box.until(lambda: plc.image().result_ok)
        assert [seq for seq, *_ in box.rows()] == [0, 1, 2]
        assert box.counter("plc_coalesced") == 1

    def test_hang_is_a_latched_fault(
        self,
        log_that_blocks: tuple[Event, Event],  # before the service, which may keep the loggers of its start
        box: Box,
        plc: StandInPlc,
        make_verdict: MakeVerdict,
    ) -> None:
        """The work loop waits for its log; when it goes on, the fault stays and the OK does not return."""
        blocks, free = log_that_blocks
        box.captured = 1
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        plc.write(Control(acknowledge=1))
        box.until(lambda: plc.image().fault_code == FaultCode.RESULTS_LOST)
        assert blocks.is_set()
        free.set()
        box.until(lambda: plc.image().ready)
        image = plc.image()
        assert (image.fault, image.fault_code) == (True, FaultCode.RESULTS_LOST)
        assert (image.result_ok, image.result_valid) == (False, False)
        box.until(lambda: box.rows(OPEN_ALARMS) == [("FAULT", FaultCode.RESULTS_LOST, None)])
        box.until(lambda: box.counter("plc_hangs") == 1)

    def test_stopped_plc_is_a_latched_fault(self, box: Box, plc: StandInPlc) -> None:
        """Its program copied the heartbeat and does not any more; the line is ready when it does again."""
        plc.write(Control(echo=plc.image().heartbeat))
        box.until(lambda: not plc.image().ready)
        assert (plc.image().fault, plc.image().fault_code) == (True, FaultCode.PLC_STOPPED)
        box.until(lambda: box.told and box.told.last_error == "plc_stopped")
        plc.write(Control(echo=plc.image().heartbeat))
        box.until(lambda: plc.image().ready)
        assert (plc.image().fault, plc.image().fault_code) == (True, FaultCode.PLC_STOPPED)
        box.until(lambda: box.rows(OPEN_ALARMS) == [("FAULT", FaultCode.PLC_STOPPED, None)])

    def test_stopped_service_leaves_the_safe_state(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict
    ) -> None:
        """The last word to the PLC."""
        box.captured = 1
        box.publish(make_verdict(0))
        box.until(lambda: plc.image().result_ok)
        box.stop()
        image = plc.image()
        assert (image.ready, image.result_ok, image.fault) == (False, False, True)
        assert image.fault_code == FaultCode.RESULTS_LOST

    def test_old_replayed_verdict_is_no_news(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict
    ) -> None:
        """It is recorded, and an NG among it raises the alarm, but the PLC is not shown a part long gone."""
        box.captured = 1
        minute_ago = time.monotonic_ns() - 60 * 10**9
        box.history = [make_verdict(0, Result.NG, published_mono_ns=minute_ago)]
        box.detector_epoch = 2
        box.until(lambda: plc.image().ng_alarm)
        assert box.rows() == [(0, "NG", "")]
        assert not plc.image().result_valid

    def test_step_of_the_wall_clock_hides_no_verdict(
        self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict
    ) -> None:
        """A detector that published an hour ago by UTC, before the clock was set, published just now."""
        box.captured = 1
        box.publish(make_verdict(0, published_wall_ns=time.time_ns() - 3600 * 10**9))
        box.until(lambda: plc.image().result_ok)

    def test_fault_part_latches_its_code(self, box: Box, plc: StandInPlc, make_verdict: MakeVerdict) -> None:
        """A later good part is shown as OK, and the fault beside it."""
        box.captured = 2
        box.publish(make_verdict(0, Result.FAULT, fault=FaultReason.MODEL_ERROR), make_verdict(1))
        box.until(lambda: plc.image().result_ok)
        image = plc.image()
        assert (image.fault, image.fault_code) == (True, FaultCode.MODEL_ERROR)
