"""The `[network]` table of config.toml: which endpoints are TCP, and the keys of those that use them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from alfa.tables import Table
from edge.addresses import tcp_address
from edge.messages import NAME_PATTERN
from edge.security.doors import Door, Doorway
from edge.security.keys import Role


def _tcp_endpoint(endpoint: str) -> str:
    try:
        usable = not IPv4Address(tcp_address(endpoint).host).is_unspecified
    except ValueError:
        usable = False
    if not usable:
        # One and the same address is bound by one service and connected to by others, and told by ZeroMQ so.
        raise ValueError("give tcp://ADDRESS:PORT with the host's own IPv4 address")
    return endpoint


TcpEndpoint: TypeAlias = Annotated[str, AfterValidator(_tcp_endpoint)]
KeyName: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


class CameraNetwork(Table):
    """A camera on another host, or one that listens for such a host."""

    key: KeyName = Field(description="name of the camera's key")
    frames: TcpEndpoint = Field(description="where it publishes frames and beats")


class DetectorNetwork(Table):
    """A detector that uses TCP; what is not given stays ipc."""

    key: KeyName = Field(description="name of the detector's key")
    verdicts: TcpEndpoint | None = Field(None, description="where it publishes verdicts and beats")
    maps: TcpEndpoint | None = Field(None, description="where it publishes pictures")
    replay: TcpEndpoint | None = Field(None, description="where it answers requests for past verdicts")


class ResultsNetwork(Table):
    """The results service where it uses TCP."""

    key: KeyName = Field(description="name of its key")
    beats: TcpEndpoint | None = Field(None, description="where it publishes its beats; else ipc")


class WatchNetwork(Table):
    """`edge-watch` where it uses TCP."""

    key: KeyName = Field(description="name of a subscriber's key")


class NetworkSettings(Table):
    """Without this table everything stays on the box (ipc) and no keys are needed."""

    keys: Path = Field(Path("keys"), description="directory of `edge-keys`: NAME.pub of every peer let in")
    cameras: dict[str, CameraNetwork] = Field(default_factory=dict, description="by line")
    detectors: dict[str, DetectorNetwork] = Field(default_factory=dict, description="by name")
    results: ResultsNetwork | None = Field(None, description="needed where it hears others over TCP")
    watch: WatchNetwork | None = Field(None, description="needed where it hears others over TCP")

    @model_validator(mode="after")
    def _endpoints_are_apart(self) -> Self:
        endpoints = [endpoint for endpoint, _ in self._places()]
        if twice := next((one for one in endpoints if endpoints.count(one) > 1), None):
            raise ValueError(f"{twice} is given twice; each endpoint needs a port of its own")
        return self

    @property
    def doorways(self) -> Mapping[str, Doorway]:
        """Every TCP endpoint."""
        return dict(self._places())

    def key_of(self, role: Role, name: str = "") -> str | None:
        """The name of a service's own key, None where it uses no TCP.

        Args:
            role: of the service.
            name: of the camera's line or of the detector.
        """
        tables = {
            Role.CAMERA: self.cameras.get(name),
            Role.DETECTOR: self.detectors.get(name),
            Role.RESULTS: self.results,
            Role.SUBSCRIBER: self.watch,
        }
        table = tables[role]
        return None if table is None else table.key

    def _places(self) -> list[tuple[str, Doorway]]:
        places = [(camera.frames, Doorway(Door.FRAMES, camera.key)) for camera in self.cameras.values()]
        for detector in self.detectors.values():
            for door, endpoint in (
                (Door.VERDICTS, detector.verdicts),
                (Door.MAPS, detector.maps),
                (Door.REPLAY, detector.replay),
            ):
                if endpoint is not None:
                    places.append((endpoint, Doorway(door, detector.key)))
        if self.results is not None and self.results.beats is not None:
            places.append((self.results.beats, Doorway(Door.RESULTS, self.results.key)))
        return places
