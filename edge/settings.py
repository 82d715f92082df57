"""config.toml -> typed settings. Every key has a default or is required, bounds, and a description.

Relative paths in the file are relative to the file. Environment variables `ALFA__TABLE__KEY` override it.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from alfa.errors import BadInput
from alfa.settings import LlmSettings, ModelSettings, first_problem, read_toml
from edge.addresses import IPC, Address
from edge.messages import NAME_PATTERN
from edge.plc.registers import MAX_INDEX
from edge.ring import ring_stem
from edge.security.settings import NetworkSettings

# sun_path holds 108 bytes; the longest socket name we add to the runtime directory must fit beside it.
_LONGEST_SOCKET_PATH = 107
_ENVIRONMENT = "ALFA__"
# OpenCV takes a C int, the hundreds of which are its choice of API.
_LARGEST_DEVICE_NUMBER = 99
_SMALLEST_MAX_SIDE = 64
_BYTES_PER_MB = 1_000_000
# The results service looks at its clock twice in this time, and writes a few lines to the PLC.
_TELL_MS = 100


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PathSettings(_Table):
    """Where things lie. systemd sets the two directories; by hand they are beside config.toml."""

    prompts: Path = Field(Path("prompts"), description="directory of prompt files, one TOML a class")
    state: Path = Field(Path("var"), description="record, evidence, banks and calibrations (StateDirectory)")
    runtime: Path = Field(Path("run"), description="ipc sockets (RuntimeDirectory), made with mode 0750")
    frames: Path = Field(Path("/dev/shm"), description="large frames on their way to the detector; a tmpfs")  # noqa: S108


class FolderSource(_Table):
    """Images of a directory, by name; what a line looks like without a camera."""

    kind: Literal["folder"]
    path: Path = Field(description="directory of images")
    rate_hz: float = Field(2.0, gt=0, le=1000, description="parts a second")
    loop: bool = Field(False, description="start over at the end instead of finishing")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for all")


class VideoSource(_Table):
    """A video file, frame by frame."""

    kind: Literal["video"]
    path: Path = Field(description="video file that OpenCV can read")
    rate_hz: float = Field(0.0, ge=0, le=1000, description="parts a second; 0 for the file's own rate")
    loop: bool = Field(False, description="start over at the end instead of finishing")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for all")


class DeviceSource(_Table):
    """A camera through OpenCV: a device number, a device path or an RTSP address."""

    kind: Literal["device"]
    device: int | str = Field(description="0, /dev/video0 or rtsp://...")
    width: int = Field(0, ge=0, le=65535, description="asked of the camera; 0 leaves its own")
    height: int = Field(0, ge=0, le=65535, description="asked of the camera; 0 leaves its own")
    rate_hz: float = Field(0.0, ge=0, le=1000, description="asked of the camera; 0 leaves its own")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for no end")
    silent_after_ms: int = Field(
        5000,
        ge=0,
        le=86_400_000,
        description="no image for longer is the fault camera_silent; 0 for a camera whose trigger may rest",
    )
    frozen_after: int = Field(
        5,
        ge=0,
        le=100_000,
        description="so many equal images in a row are the fault camera_frozen: a sensor's noise never "
        "repeats. 0: never; a compressed stream of a scene at rest may repeat",
    )

    @field_validator("frozen_after")
    @classmethod
    def _one_image_repeats_nothing(cls, frozen_after: int) -> int:
        if frozen_after == 1:
            raise ValueError("one image is no repetition; give 0 or at least 2")
        return frozen_after

    @field_validator("device")
    @classmethod
    def _device_can_exist(cls, device: int | str) -> int | str:
        named = str(device).strip()
        if not named or named.startswith("-") or (named.isdecimal() and int(named) > _LARGEST_DEVICE_NUMBER):
            raise ValueError("give a device number, a device path or an address")
        return device


class SyntheticSource(_Table):
    """Rendered parts with known defects, the same for the same seed: demo and tests."""

    kind: Literal["synthetic"]
    seed: int = Field(0, ge=0, lt=2**32, description="same seed, same parts")
    rate_hz: float = Field(2.0, gt=0, le=1000, description="parts a second")
    defect_rate: float = Field(0.25, ge=0, le=1, description="share of defective parts")
    width: int = Field(640, ge=64, le=8192, description="pixels")
    height: int = Field(480, ge=64, le=8192, description="pixels")
    limit: int = Field(0, ge=0, description="stop after this many parts; 0 for no end")


Source = Annotated[FolderSource | VideoSource | DeviceSource | SyntheticSource, Field(discriminator="kind")]


class AlarmSettings(_Table):
    """NG alarm: raised when at least k of the last n parts were NG; stays until acknowledged."""

    k: int = Field(1, ge=1, le=1000, description="NG parts that raise the alarm")
    n: int = Field(1, ge=1, le=1000, description="among this many last parts")

    @model_validator(mode="after")
    def _k_fits_in_n(self) -> Self:
        if self.k > self.n:
            raise ValueError("k parts cannot be among fewer than k; make n at least k")
        return self


class LineSettings(_Table):
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


class DetectorSettings(_Table):
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


class ResultsSettings(_Table):
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


class PlcSettings(_Table):
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


class HttpSettings(_Table):
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


class Settings(BaseSettings):
    """The whole of config.toml."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=_ENVIRONMENT, env_nested_delimiter="__"
    )

    model: ModelSettings = ModelSettings()
    llm: LlmSettings = LlmSettings()
    paths: PathSettings = PathSettings()
    detector: DetectorSettings = DetectorSettings()
    results: ResultsSettings = ResultsSettings()
    plc: PlcSettings | None = None
    http: HttpSettings = HttpSettings()
    network: NetworkSettings | None = None
    lines: dict[str, LineSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _lines_are_well_named_and_apart(self) -> Self:
        for name in self.lines:
            if not re.fullmatch(NAME_PATTERN, name):
                raise ValueError(f"line name {name!r}: use letters, digits, '_', '-' and '.', at most 64")
        indices = [line.index for line in self.lines.values()]
        if self.plc is not None and len(set(indices)) != len(indices):
            raise ValueError("two lines have the same `index`; each needs PLC registers of its own")
        return self

    @model_validator(mode="after")
    def _pages_are_of_services(self) -> Self:
        for key, named, known in (
            ("detectors", self.http.detectors, self.detectors()),
            ("cameras", self.http.cameras, list(self.lines)),
        ):
            for name in named:
                if name not in known:
                    raise ValueError(f"`http.{key}.{name}`: there is none; there are {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _losses_reach_the_plc_in_time(self) -> Self:
        if self.plc is None:
            return self
        latest = self.plc.safe_within_ms - _TELL_MS
        if self.results.lost_after_ms > latest:
            raise ValueError(
                f"`results.lost_after_ms` ({self.results.lost_after_ms}) must be at most {latest}, or a "
                f"loss is not in the PLC within `plc.safe_within_ms` ({self.plc.safe_within_ms})"
            )
        return self

    @model_validator(mode="after")
    def _verdicts_may_come_before_they_are_missed(self) -> Self:
        slowest = max(line.max_age_ms for line in self.lines.values())
        if self.results.no_verdict_after_ms <= slowest:
            raise ValueError(
                f"`results.no_verdict_after_ms` ({self.results.no_verdict_after_ms}) must be above every "
                f"line's `max_age_ms` ({slowest}), or parts that wait their turn become FAULT(no_verdict)"
            )
        return self

    @model_validator(mode="after")
    def _who_uses_tcp_has_a_key(self) -> Self:
        """Whoever binds an endpoint has one, as its table asks for it; here are those who connect."""
        if self.network is None:
            return self
        for line in self.network.cameras:
            if line not in self.lines:
                raise ValueError(f"`network.cameras.{line}`: there is no such line")
            if (detector := self.lines[line].detector) not in self.network.detectors:
                raise ValueError(
                    f"`network.detectors.{detector}` is missing: it fetches frames over TCP and needs a `key`"
                )
        for detector in self.network.detectors:
            if detector not in self.detectors():
                raise ValueError(f"`network.detectors.{detector}`: no line names this detector")
        if self.network.doorways and self.network.results is None:
            raise ValueError("`network.results` is missing: it hears others over TCP and needs a `key`")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which arrives as init settings)."""
        return env_settings, init_settings

    @property
    def database(self) -> Path:
        """The record of verdicts and alarms (SQLite)."""
        return self.paths.state / self.results.database

    def lines_of(self, detector: str) -> dict[str, LineSettings]:
        """The lines that the detector of this name judges, by name."""
        return {name: line for name, line in self.lines.items() if line.detector == detector}

    def detectors(self) -> list[str]:
        """The names of all detectors that lines ask for."""
        return sorted({line.detector for line in self.lines.values()})

    def camera_endpoint(self, line: str) -> str:
        """Where the line's camera publishes `frame/` and `beat/camera/`."""
        camera = self._network.cameras.get(line)
        return self._ipc(f"camera-{line}") if camera is None else camera.frames

    def camera_is_near(self, line: str) -> bool:
        """Whether the line's camera is reached over ipc."""
        return line not in self._network.cameras

    def shares_frames(self, line: str) -> bool:
        """Whether the line's large frames go through shared memory; never where its camera uses TCP."""
        return self.lines[line].shared_frames and self.camera_is_near(line)

    def tally_file(self, line: str) -> Path:
        """Where the line's camera keeps the counts of its starts."""
        return self.paths.runtime / f"camera-{line}.tally"

    def frames_stem(self, line: str) -> Path:
        """What the names of the line's shared frames begin with."""
        return ring_stem(self.paths.frames, self.camera_endpoint(line))

    def detector_endpoint(self, detector: str) -> str:
        """Where the detector publishes `verdict/` and `beat/detector/`."""
        network = self._network.detectors.get(detector)
        return (network and network.verdicts) or self._ipc(f"detector-{detector}")

    def maps_endpoint(self, detector: str) -> str:
        """Where the detector publishes `map/`."""
        network = self._network.detectors.get(detector)
        return (network and network.maps) or self._ipc(f"maps-{detector}")

    def replay_endpoint(self, detector: str) -> str:
        """Where the detector answers replay requests (ROUTER)."""
        network = self._network.detectors.get(detector)
        return (network and network.replay) or self._ipc(f"replay-{detector}")

    def results_endpoint(self) -> str:
        """Where results publishes `beat/results/`."""
        network = self._network.results
        return (network and network.beats) or self._ipc("results")

    @property
    def _network(self) -> NetworkSettings:
        return self.network or NetworkSettings()

    def _ipc(self, name: str) -> str:
        return f"{IPC}{self.paths.runtime}/{name}.sock"


def load_settings(config: Path) -> Settings:
    """Read, validate and resolve a config.toml.

    Raises:
        BadInput: file missing or malformed, unknown key, wrong type, value out of bounds; names the key.
    """
    table = read_toml(config)
    _require_known_tables()
    try:
        settings = Settings(**table)
    except ValidationError as error:
        raise _problem(config, error) from error
    except SettingsError as error:
        raise BadInput("environment", "ALFA__...", None, f"cannot be used: {error}") from error
    return _resolved(settings, config)


def _require_known_tables() -> None:
    """pydantic-settings passes over a variable of a table that it does not know: a slip would have no effect.

    Raises:
        BadInput: a variable with our prefix names no table.
    """
    for variable in os.environ:
        if variable.upper().startswith(_ENVIRONMENT):
            table = variable[len(_ENVIRONMENT) :].partition("__")[0].lower()
            if table not in Settings.model_fields:
                known = ", ".join(Settings.model_fields)
                raise BadInput("environment", variable, None, f"no table '{table}'; the tables are {known}")


def _problem(config: Path, error: ValidationError) -> BadInput:
    """As `first_problem`, but by keys that are in the file: pydantic adds the kind of a source to them."""
    found = first_problem(config, error)
    key = re.sub(r"^(lines\..+?\.source)\.(?:folder|video|device|synthetic)(?=\.)", r"\1", found.key)
    return BadInput(found.where, key, found.value, found.advice)


def _resolved(settings: Settings, config: Path) -> Settings:
    """All paths absolute, seen from the file, so that a service's working directory does not matter."""
    home = config.resolve().parent
    paths = settings.paths.model_copy(
        update={name: (home / getattr(settings.paths, name)) for name in PathSettings.model_fields}
    )
    lines = {name: _resolved_line(line, home) for name, line in settings.lines.items()}
    network = settings.network
    if network is not None:
        network = network.model_copy(update={"keys": home / network.keys})
    resolved = settings.model_copy(update={"paths": paths, "lines": lines, "network": network})
    for endpoint in (
        *map(resolved.camera_endpoint, lines),
        *map(resolved.replay_endpoint, resolved.detectors()),
    ):
        if len(endpoint.removeprefix(IPC).encode()) > _LONGEST_SOCKET_PATH:
            raise BadInput(
                config,
                "paths.runtime",
                str(paths.runtime),
                f"makes socket names longer than {_LONGEST_SOCKET_PATH} bytes; use a shorter path",
            )
    return resolved


def _resolved_line(line: LineSettings, home: Path) -> LineSettings:
    update: dict[str, Any] = {
        name: home / path for name in ("bank", "calibration") if (path := getattr(line, name)) is not None
    }
    if isinstance(line.source, FolderSource | VideoSource):
        update["source"] = line.source.model_copy(update={"path": home / line.source.path})
    return line.model_copy(update=update)
