"""The whole of config.toml: what its tables must agree on, and where each service is reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from alfa.settings import LlmSettings, ModelSettings
from edge.addresses import IPC
from edge.messages import NAME_PATTERN
from edge.ring import ring_stem
from edge.security.settings import NetworkSettings
from edge.settings.tables import (
    DetectorSettings,
    HttpSettings,
    LineSettings,
    PathSettings,
    PlcSettings,
    ResultsSettings,
)

ENVIRONMENT = "ALFA__"
# The results service looks at its clock twice in this time, and writes a few lines to the PLC.
_TELL_MS = 100


class Settings(BaseSettings):
    """The whole of config.toml."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENVIRONMENT, env_nested_delimiter="__"
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
