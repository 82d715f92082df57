"""The tables of config.toml but for the sources: every key with its default, its bounds and a description."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from alfa.tables import Table
from edge.addresses import Address
from edge.messages import NAME_PATTERN
from edge.plc.registers import MAX_INDEX
from edge.settings.sources import Source

_SMALLEST_MAX_SIDE = 64
_BYTES_PER_MB = 1_000_000


class PathSettings(Table):
    """Where things lie. systemd sets the two directories; by hand they are beside config.toml."""

    prompts: Path = Field(Path("prompts"), description="directory of prompt files, one TOML a class")
    state: Path = Field(Path("var"), description="record, evidence, banks and calibrations (StateDirectory)")
    runtime: Path = Field(Path("run"), description="ipc sockets (RuntimeDirectory), made with mode 0750")
    frames: Path = Field(Path("/dev/shm"), description="large frames on their way to the detector; a tmpfs")  # noqa: S108


class AlarmSettings(Table):
    """NG alarm: raised when at least k of the last n parts were NG; stays until acknowledged."""

    k: int = Field(1, ge=1, le=1000, description="NG parts that raise the alarm")
    n: int = Field(1, ge=1, le=1000, description="among this many last parts")

    @model_validator(mode="after")
    def _k_fits_in_n(self) -> Self:
        if self.k > self.n:
            raise ValueError("k parts cannot be among fewer than k; make n at least k")
        return self


class LineSettings(Table):
    """One camera and what its parts are judged with."""

    source: Source
    prompts: str = Field(pattern=NAME_PATTERN, description="class: file NAME.toml in paths.prompts")
    bank: Path | None = Field(None, description="memory bank from `alfa-bank teach`")
    calibration: Path | None = Field(None, description="file from `alfa-calibrate`")
    detector: str = Field("main", pattern=NAME_PATTERN, description="name of the detector that judges it")
    index: int = Field(0, ge=0, le=MAX_INDEX, description="PLC block: registers from base + 32 x index")
    recipe: int = Field(0, ge=0, le=65535, description="number the PLC sees for this prompt set")
    overload: Literal["every", "latest"] = Field(
        "every",
        description="every: a full queue is a FAULT; latest: the newest frame wins, at most three wait",
    )
    free_running: bool = Field(False, description="with `latest`: skipped frames are counted, not FAULTs")
    max_side: int = Field(
        0,
        ge=0,
        le=65_535,
        description="the camera shrinks larger images to this longer side before it sends them; 0: never. "
        "Teach and calibrate on images of the same size",
    )
    frame_buffer_mb: int = Field(
        512,
        ge=1,
        le=65_536,
        description="most that waiting frames take: in shared memory, in the camera's socket and in the "
        "detector's queue, each; the queue of a `latest` line is bounded by its three frames alone",
    )
    shared_frames: bool = Field(True, description="large frames go through shared memory, not the socket")
    max_age_ms: int = Field(10_000, ge=1, le=3_600_000, description="an older frame is FAULT(stale)")
    alarm: AlarmSettings = AlarmSettings()

    @property
    def frame_buffer_bytes(self) -> int:
        """As `frame_buffer_mb` says."""
        return self.frame_buffer_mb * _BYTES_PER_MB

    @field_validator("prompts")
    @classmethod
    def _prompts_are_a_class(cls, prompts: str) -> str:
        """With the suffix it would be a path, seen from wherever the service was started."""
        if prompts.endswith(".toml"):
            raise ValueError(f"give the class alone: {prompts.removesuffix('.toml')!r}")
        return prompts

    @field_validator("max_side")
    @classmethod
    def _enough_is_left(cls, max_side: int) -> int:
        if 0 < max_side < _SMALLEST_MAX_SIDE:
            raise ValueError(f"leaves too little to judge; give 0 or at least {_SMALLEST_MAX_SIDE}")
        return max_side


class DetectorSettings(Table):
    """Batches, queues and pictures of every detector."""

    max_batch: int = Field(8, ge=1, le=256, description="frames judged at once, across lines")
    batch_wait_ms: float = Field(
        5.0, ge=0, le=1000, description="wait for other lines' frames to fill a batch"
    )
    queue: int = Field(64, ge=1, le=10_000, description="frames of one line that may wait")
    history: int = Field(1000, ge=1, le=100_000, description="verdicts of a line kept for replay")
    map_every_ok: int = Field(20, ge=1, le=100_000, description="picture for every n-th OK part")
    jpeg_quality: int = Field(90, ge=10, le=100, description="of the judged image in map messages")
    hang_s: float = Field(60.0, ge=1, le=3600, description="one batch longer than this is a hang")


class ResultsSettings(Table):
    """The record and the deadlines of the accounting."""

    database: str = Field("results.sqlite", pattern=NAME_PATTERN, description="file in paths.state")
    keep_days: int = Field(
        365,
        ge=1,
        le=36_500,
        description="older verdicts and acknowledged alarms are deleted; what nobody acknowledged stays",
    )
    evidence: str = Field("evidence", pattern=NAME_PATTERN, description="directory in paths.state")
    evidence_max_mb: int = Field(2000, ge=1, le=10_000_000, description="oldest pictures go first")
    evidence_max_days: int = Field(30, ge=1, le=10_000, description="older pictures go")
    no_verdict_after_ms: int = Field(15_000, ge=100, le=3_600_000, description="then FAULT(no_verdict)")
    # A beat comes every 0.5 s. Silence must be in the PLC within 1 s of the last one: this and 0.1 s to tell.
    lost_after_ms: int = Field(900, ge=600, le=60_000, description="no beat this long: upstream is lost")

    @property
    def evidence_max_bytes(self) -> int:
        """As `evidence_max_mb` says."""
        return self.evidence_max_mb * _BYTES_PER_MB


class PlcSettings(Table):
    """Modbus TCP server (the PLC) that shows the verdicts. Without this table no PLC is driven."""

    host: str = Field("127.0.0.1", description="IP address of the PLC; names are not resolved")
    port: int = Field(502, ge=1, le=65535, description="its Modbus TCP port")
    unit: int = Field(1, ge=0, le=255, description="Modbus unit id")
    base: int = Field(0, ge=0, le=60_000, description="first holding register of line index 0")
    heartbeat_ms: int = Field(200, ge=20, le=10_000, description="a third of the PLC's watchdog or less")
    timeout_ms: int = Field(300, ge=20, le=10_000, description="of one Modbus request, and of connecting")
    safe_within_ms: int = Field(
        1000,
        ge=1000,
        le=60_000,
        description="a loss must be in the registers, or the PLC's watchdog expire, within this time: bounds "
        "`heartbeat_ms`, `timeout_ms` and `results.lost_after_ms`",
    )
    echo_timeout_ms: int = Field(
        1000,
        ge=0,
        le=60_000,
        description="the PLC's copy of the heartbeat stands still for so long: its program has stopped; "
        "watched from the first time that it moves; 0: never",
    )

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        try:
            ip_address(host)
        except ValueError as error:
            raise ValueError(
                "give the IP address of the PLC; a name server that does not answer would hold up the link"
            ) from error
        return host

    @model_validator(mode="after")
    def _watchdog_and_echo_have_three_heartbeats(self) -> Self:
        watchdog_ms = 3 * self.heartbeat_ms
        if watchdog_ms > self.safe_within_ms:
            raise ValueError(
                f"`heartbeat_ms` ({self.heartbeat_ms}) must be at most a third of `safe_within_ms` "
                f"({self.safe_within_ms}): three heartbeats are the PLC's watchdog"
            )
        if 0 < self.echo_timeout_ms < watchdog_ms:
            raise ValueError(
                f"`echo_timeout_ms` ({self.echo_timeout_ms}) must be 0 or at least three heartbeats "
                f"({watchdog_ms})"
            )
        return self

    @model_validator(mode="after")
    def _one_request_leaves_time_to_tell(self) -> Self:
        if self.timeout_ms > self.safe_within_ms:
            raise ValueError(
                f"`timeout_ms` ({self.timeout_ms}) must be at most `safe_within_ms` ({self.safe_within_ms}): "
                "a PLC that answers later is not told of a loss in time"
            )
        return self


def _http_address(address: str) -> str:
    """Empty, or as `Address.parse` takes it."""
    if address:
        Address.parse(address)
    return address


HttpAddress = Annotated[str, AfterValidator(_http_address)]


class HttpSettings(Table):
    """Where each service answers /metrics, /healthz and /readyz; one that is not named here does not.

    Loopback addresses are for this machine alone. Another address is open to whoever reaches it.
    """

    results: HttpAddress = Field("", description="HOST:PORT of edge-results; empty: none")
    detectors: dict[str, HttpAddress] = Field({}, description="HOST:PORT by name of the detector")
    cameras: dict[str, HttpAddress] = Field({}, description="HOST:PORT by name of the line")

    @model_validator(mode="after")
    def _no_port_twice(self) -> Self:
        known = [each for each in (self.results, *self.detectors.values(), *self.cameras.values()) if each]
        twice = next((address for address in known if known.count(address) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice; each service needs a port of its own")
        return self
