"""The pages of a service over real HTTP: for Prometheus, and for whoever asks whether it lives."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from alfa.errors import BadInput, Fault
from edge.health import Health
from edge.heart import Heart
from edge.lifecycle import Lifecycle
from edge.messages import ServiceState
from edge.processes import free_port
from edge.web import Pages

GetPage = Callable[[int, str], tuple[int, str]]
CONFIG = Path("config.toml")


@pytest.fixture
def lifecycle() -> Iterator[Lifecycle]:
    """A service's."""
    with Lifecycle() as lifecycle:
        yield lifecycle


@contextmanager
def served(health: Health, listen: str = "") -> Iterator[int]:
    """Pages of a camera; gives the port."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    with Pages(listen or f"127.0.0.1:{free_port()}", CONFIG, "http.results", log) as pages:
        pages.serve("camera", health)
        yield pages.port


def heart(state: ServiceState = ServiceState.READY, error: str = "") -> Heart:
    made = Heart("camera", "line1", 7, state, last_error=error)
    made.counters["captured"] = 5
    made.beat()
    return made


def test_metrics_are_what_prometheus_reads(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """Our counters, and the process's memory and files beside them."""
    with served(Health([heart()], lifecycle)) as port:
        status, text = get_page(port, "/metrics?format=any")
    assert status == 200
    assert '\nalfa_camera_captured_total{line="line1"} 5.0\n' in text
    assert "\nprocess_resident_memory_bytes " in text
    assert "\nprocess_open_fds " in text


def test_a_loop_that_goes_round_is_alive(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """200 whatever the lines say."""
    lifecycle.alive()
    with served(Health([heart(ServiceState.FAULT)], lifecycle, stuck_after_s=60)) as port:
        assert get_page(port, "/healthz")[0] == 200


def test_a_stuck_loop_is_neither_alive_nor_ready(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """The page answers for it, and says for how long it was silent."""
    with served(Health([heart()], lifecycle, stuck_after_s=0)) as port:
        status, text = get_page(port, "/healthz")
        assert (status, "work loop silent" in text) == (503, True)
        assert get_page(port, "/readyz")[0] == 503


@pytest.mark.parametrize("state", ServiceState)
def test_ready_is_what_every_line_says(state: ServiceState, lifecycle: Lifecycle, get_page: GetPage) -> None:
    """One line that is not READY makes the service not ready; the page says which and why."""
    other = heart(state, "why\nnot")
    with served(Health([heart(), other], lifecycle)) as port:
        status, text = get_page(port, "/readyz")
    assert (status == 200) is (state is ServiceState.READY)
    assert f"line1 {state} why not\n" in text


def test_nothing_is_ready_before_its_first_beat(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """A service that still starts up has said nothing."""
    with served(Health([Heart("camera", "line1", 7)], lifecycle)) as port:
        assert get_page(port, "/readyz") == (503, "not ok\nline1 no beat yet\n")
        assert get_page(port, "/metrics")[0] == 200


def test_other_paths_and_methods_are_refused(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """There is nothing to write here."""
    with served(Health([heart()], lifecycle)) as port:
        assert get_page(port, "/")[0] == 404
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(request, timeout=10)


def test_readers_that_say_nothing_do_not_add_up(lifecycle: Lifecycle, get_page: GetPage) -> None:
    """Beyond a bound a connection is closed; when they go, pages are served again."""
    with served(Health([heart()], lifecycle)) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as one_more:
            assert one_more.recv(1) == b""
        for each in silent:
            each.close()
        assert status_when_served(port, get_page) == 200


def status_when_served(port: int, get_page: GetPage) -> int:
    """Of /healthz, once a place is free: a thread gives its own back after its reader was hung up on."""
    while True:
        try:
            return get_page(port, "/healthz")[0]
        except OSError:
            continue


def test_readers_that_say_little_are_hung_up_on(
    lifecycle: Lifecycle, get_page: GetPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no silence, and would hold a place for ever."""
    lifecycle.alive()
    with served(Health([heart()], lifecycle, stuck_after_s=60)) as port, ExitStack() as stack:
        places = [("127.0.0.1", port)] * 8
        with monkeypatch.context() as patched:
            patched.setattr("edge.web._LONGEST_S", 0.3)
            drips = [stack.enter_context(closing(socket.create_connection(place))) for place in places]
            while drips:
                drips = [each for each in drips if takes_a_byte(each)]
        assert status_when_served(port, get_page) == 200


def takes_a_byte(connection: socket.socket) -> bool:
    """Whether somebody is still there and waits for more."""
    connection.settimeout(0.02)
    try:
        connection.sendall(b"G")
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("http://[", "", b"404"),
        ("//[/metrics", "", b"404"),
        ("/metrics", "application/openmetrics-text; version=x.y", b"200"),
        ("/metrics", "application/openmetrics-text; version=1..0;;=", b"200"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered(
    lifecycle: Lifecycle, path: str, accept: str, status: bytes
) -> None:
    """And fills no log: whoever reaches the page could send thousands."""
    with (
        capture_logs() as logs,
        served(Health([heart()], lifecycle)) as port,
        closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as reader,
    ):
        reader.sendall(f"GET {path} HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
        assert reader.makefile("rb").readline().split()[1] == status
    assert logs == []


def test_a_machine_out_of_threads_is_got_over(
    lifecycle: Lifecycle, get_page: GetPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More connections than are served at once fail for want of a thread; the next one is served."""

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lifecycle.alive()
    with served(Health([heart()], lifecycle, stuck_after_s=60)) as port:
        with monkeypatch.context() as patched, capture_logs() as logs:
            patched.setattr(threading.Thread, "start", no_thread)
            for _ in range(9):
                with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as refused:
                    assert refused.recv(1) == b""
        assert get_page(port, "/healthz")[0] == 200
    assert [line["event"] for line in logs] == ["http_failed"] * 9


def test_a_taken_port_is_bad_input(lifecycle: Lifecycle) -> None:
    """Named by file, key and value."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    with served(Health([], lifecycle)) as port, pytest.raises(BadInput) as raised:
        Pages(f"127.0.0.1:{port}", CONFIG, "http.results", log)
    assert str(raised.value).startswith(
        f"config.toml: http.results = '127.0.0.1:{port}': cannot be listened on"
    )


def test_an_address_that_is_not_there_yet_is_a_fault() -> None:
    """Exit 3, which systemd tries again: the interface may come up. 192.0.2.0/24 is of no machine."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    with pytest.raises(Fault, match=r"endpoint_unusable: http\.results 192\.0\.2\.1:9460 cannot be"):
        Pages("192.0.2.1:9460", CONFIG, "http.results", log)


@pytest.mark.parametrize(("listen", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_an_address_for_others_is_warned_of(listen: str, warned: bool, lifecycle: Lifecycle) -> None:
    """Once, at the start."""
    with capture_logs() as logs, served(Health([], lifecycle), f"{listen}:{free_port()}"):
        pass
    assert [entry["event"] for entry in logs] == ["http_open_to_network"] * warned


def test_a_process_serves_its_pages(write_config: Callable[..., Path], get_page: GetPage) -> None:
    """edge-results with the file's own key: alive before it is ready; its end frees the port."""
    port = free_port()
    config = write_config(
        f'[http]\nresults = "127.0.0.1:{port}"\n'
        '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'
    )
    command = [sys.executable, "-m", "edge.results.main", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            while True:
                assert process.poll() is None
                try:
                    status, text = get_page(port, "/readyz")
                except OSError:
                    continue
                if "STARTING" in text:
                    break
            assert status == 503
            assert get_page(port, "/healthz")[0] == 200
            _, metrics = get_page(port, "/metrics")
            assert 'alfa_parts_total{line="line1",result="OK",service="results"} 0.0' in metrics
            assert "alfa_record_commit_seconds_count 0.0" in metrics
            second = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (second.returncode, second.stderr.count("\n")) == (2, 1)
            assert f"{config}: http.results = '127.0.0.1:{port}': cannot be listened on" in second.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    with pytest.raises(OSError, match="refused"):
        get_page(port, "/healthz")
