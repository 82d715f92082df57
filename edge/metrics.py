"""Every Prometheus metric of the box, and which counter of a beat it comes from.

The beats are the one source: what a service counts, it counts once, and says it on ZeroMQ and here alike
(`edge.metric_samples`). A counter of a beat that has no metric of its own is exported under its name as
`alfa_events_total`, so that none is ever missing. Labels are names of ours (lines, results, reasons, states)
and never what a part or an outsider brings, so that the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge.camera.condition import TROUBLES
from edge.heart import ServiceName
from edge.messages import FaultReason, Result

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "summary"]
Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Attributes:
        name: as in a query, for counters with `_total`.
        kind: of Prometheus.
        help: one sentence.
        labels: names; `line` where it is of one line and not of the whole service.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()

    def sample_names(self) -> Labels:
        """What may stand in a query."""
        if self.kind == "histogram":
            return self.name, f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum"
        if self.kind == "summary":
            return self.name, f"{self.name}_count", f"{self.name}_sum"
        return (self.name,)


BUILD = Metric("alfa_build_info", "gauge", "Always 1; the program's version.", ("service", "version"))
LOOP_SILENCE = Metric(
    "alfa_loop_silence_seconds",
    "gauge",
    "Since the work loop last fed the watchdog; /healthz answers 503 above 5 s.",
    ("service",),
)
STATE = Metric(
    "alfa_state", "gauge", "1 for the state that a line of the service is in.", ("service", "line", "state")
)
LAST_SEQ = Metric(
    "alfa_last_seq", "gauge", "Sequence number of the last part; -1 before it.", ("service", "line")
)
EVENTS = Metric(
    "alfa_events_total",
    "counter",
    "Counters of the beat that have no metric of their own, by name.",
    ("service", "line", "event"),
)
PEERS_REFUSED = Metric(
    "alfa_peers_refused_total", "counter", "Callers over TCP that were not let in.", ("service",)
)
HANDSHAKES_FAILED = Metric(
    "alfa_handshakes_failed_total", "counter", "Calls of our own over TCP that were not let in.", ("service",)
)
KEYS_NOT_RELOADED = Metric(
    "alfa_keys_not_reloaded_total", "counter", "Reloads at which the keys could not be read.", ("service",)
)
IMPOSTORS = Metric(
    "alfa_impostors_total",
    "counter",
    "Messages dropped because their sender may not speak for their line.",
    ("service",),
)
CAPTURED = Metric("alfa_camera_captured_total", "counter", "Parts that were given a number.", ("line",))
SENT = Metric("alfa_camera_sent_total", "counter", "Parts whose image was published.", ("line",))
UNREADABLE = Metric("alfa_camera_unreadable_total", "counter", "Parts without a usable image.", ("line",))
SHARED = Metric("alfa_camera_shared_total", "counter", "Images that went through shared memory.", ("line",))
TROUBLE = Metric(
    "alfa_camera_troubles_total",
    "counter",
    "Times that the camera gave no images, by why.",
    ("line", "trouble"),
)
ENDED = Metric("alfa_camera_ended", "gauge", "1 after the last part of a finite source.", ("line",))
RECEIVED = Metric("alfa_detector_received_total", "counter", "Frames that arrived and are new.", ("line",))
PARTS = Metric(
    "alfa_parts_total",
    "counter",
    "Verdicts by result: published by the detector, recorded by results.",
    ("service", "line", "result"),
)
FAULTS = Metric(
    "alfa_faults_total",
    "counter",
    "Parts not judged, by reason: published by the detector, given up by results.",
    ("service", "line", "reason"),
)
QUEUE = Metric("alfa_detector_queue_frames", "gauge", "Frames that wait at this moment.", ("line",))
PREPARED = Metric("alfa_detector_prepared_frames", "gauge", "Those of them ready for the model.", ("line",))
STAGE = Metric(
    "alfa_stage_seconds",
    "histogram",
    "What judged parts spent in each stage; `total` runs from capture to publication.",
    ("line", "stage"),
)
RELOADS = Metric(
    "alfa_detector_reloads_total",
    "counter",
    "Reloads by whether the new files are in use.",
    ("line", "outcome"),
)
RECIPE = Metric(
    "alfa_recipe_info",
    "gauge",
    "Always 1; what the line is judged with, as content hashes.",
    ("line", "recipe", "model", "prompts", "bank", "calibration"),
)
RECORDED = Metric("alfa_record_rows_total", "counter", "Verdicts that are on disk.", ("line",))
COMMIT = Metric("alfa_record_commit_seconds", "summary", "Transactions of the record that reached the disk.")
RECORD_FAILURES = Metric("alfa_record_failures_total", "counter", "Transactions that failed.")
ALARMS = Metric("alfa_alarms_total", "counter", "Alarm events by kind.", ("line", "kind"))
ALARMS_OPEN = Metric(
    "alfa_alarms_open",
    "gauge",
    "Alarm events nobody has acknowledged; the alarm is latched while above 0.",
    ("line", "kind"),
)
ACKNOWLEDGED = Metric("alfa_alarms_acknowledged_total", "counter", "Acknowledged alarm events.", ("line",))
EVIDENCE = Metric("alfa_evidence_pictures_total", "counter", "Pictures by what became of them.", ("outcome",))
PLC_CONNECTED = Metric("alfa_plc_connected", "gauge", "1 while the PLC is connected.")
PLC_RECONNECTS = Metric("alfa_plc_reconnects_total", "counter", "Connections after the first.")
PLC_HANGS = Metric(
    "alfa_plc_hangs_total", "counter", "Times that results' work loop stood still for the PLC."
)
PLC_ECHO_LOST = Metric(
    "alfa_plc_echo_lost_total", "counter", "Times that the PLC stopped copying the heartbeat, of any line."
)
PLC_VERDICTS = Metric(
    "alfa_plc_verdicts_total", "counter", "Verdicts by whether the PLC was shown them.", ("outcome",)
)
PLC_REQUEST = Metric("alfa_plc_request_seconds", "summary", "Modbus requests that were answered.")

METRICS = (
    BUILD,
    LOOP_SILENCE,
    STATE,
    LAST_SEQ,
    EVENTS,
    PEERS_REFUSED,
    HANDSHAKES_FAILED,
    KEYS_NOT_RELOADED,
    IMPOSTORS,
    CAPTURED,
    SENT,
    UNREADABLE,
    SHARED,
    TROUBLE,
    ENDED,
    RECEIVED,
    PARTS,
    FAULTS,
    QUEUE,
    PREPARED,
    STAGE,
    RELOADS,
    RECIPE,
    RECORDED,
    COMMIT,
    RECORD_FAILURES,
    ALARMS,
    ALARMS_OPEN,
    ACKNOWLEDGED,
    EVIDENCE,
    PLC_CONNECTED,
    PLC_RECONNECTS,
    PLC_HANGS,
    PLC_ECHO_LOST,
    PLC_VERDICTS,
    PLC_REQUEST,
)


@dataclass(frozen=True, slots=True)
class Series:
    """Where a counter of the beat goes: a metric, and its labels but for `service` and `line`."""

    metric: Metric
    labels: Labels = ()


_OF_RESULTS = {result.lower(): Series(PARTS, (str(result),)) for result in Result}
_OF_TCP = {
    "peers_refused": Series(PEERS_REFUSED),
    "handshakes_failed": Series(HANDSHAKES_FAILED),
    "keys_not_reloaded": Series(KEYS_NOT_RELOADED),
}
# What each service counts, by the counter's name in the beat.
SERIES: Mapping[ServiceName, Mapping[str, Series]] = {
    "camera": {
        **_OF_TCP,
        "captured": Series(CAPTURED),
        "sent": Series(SENT),
        "unreadable": Series(UNREADABLE),
        "shared": Series(SHARED),
        "ended": Series(ENDED),
        **{trouble: Series(TROUBLE, (trouble,)) for trouble in TROUBLES},
    },
    "detector": {
        **_OF_TCP,
        **_OF_RESULTS,
        **{str(reason): Series(FAULTS, (str(reason),)) for reason in FaultReason if reason},
        "impostors": Series(IMPOSTORS),
        "received": Series(RECEIVED),
        "queue": Series(QUEUE),
        "prepared": Series(PREPARED),
        "reloaded": Series(RELOADS, ("taken",)),
        "reload_refused": Series(RELOADS, ("refused",)),
    },
    "results": {
        **_OF_TCP,
        **_OF_RESULTS,
        "impostors": Series(IMPOSTORS),
        "no_verdict": Series(FAULTS, (str(FaultReason.NO_VERDICT),)),
        "recorded": Series(RECORDED),
        "record_failures": Series(RECORD_FAILURES),
        "ng_alarms": Series(ALARMS, ("NG",)),
        "fault_alarms": Series(ALARMS, ("FAULT",)),
        "ng_open": Series(ALARMS_OPEN, ("NG",)),
        "fault_open": Series(ALARMS_OPEN, ("FAULT",)),
        "acknowledged": Series(ACKNOWLEDGED),
        "evidence": Series(EVIDENCE, ("kept",)),
        "evidence_dropped": Series(EVIDENCE, ("dropped",)),
        "evidence_failed": Series(EVIDENCE, ("failed",)),
        "plc_connected": Series(PLC_CONNECTED),
        "plc_reconnects": Series(PLC_RECONNECTS),
        "plc_hangs": Series(PLC_HANGS),
        "plc_echo_lost": Series(PLC_ECHO_LOST),
        "plc_written": Series(PLC_VERDICTS, ("shown",)),
        "plc_coalesced": Series(PLC_VERDICTS, ("not_shown",)),
    },
}
# Count and sum in microseconds.
SUMMARIES = {
    COMMIT: ("record_commits", "record_commit_us"),
    PLC_REQUEST: ("plc_requests", "plc_request_us"),
}
