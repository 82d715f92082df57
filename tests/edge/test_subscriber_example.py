"""The subscriber of docs/wire.md, in another language, on real messages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edge.messages import (
    FaultReason,
    Reason,
    Region,
    Result,
    Verdict,
    encode_verdict,
    missing_verdict,
    verdict_topic,
)
from edge.sockets import VERDICT_HWM, Sockets, send

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (EXAMPLES / "node_modules" / "zeromq").is_dir(),
    reason="needs Node.js and `npm ci --prefix examples`",
)


def test_a_subscriber_in_node_prints_the_verdicts_of_its_line(runtime_dir: Path) -> None:
    """Good, bad and not judged, with the whole of a 63-bit epoch; another line's are not its own."""
    epoch = 2**63 - 1
    good = Verdict("line1", epoch, 0, "A-0", Result.OK, score=0.25, threshold=0.5)
    bad = Verdict(
        "line1",
        epoch,
        1,
        "",
        Result.NG,
        score=0.75,
        threshold=0.5,
        region=Region(10, 20, 30, 40, 900),
        reasons=(Reason("a scratch", 0.3),),
    )
    lost = missing_verdict("line1", epoch, 2, FaultReason.FRAME_LOST, "never came")
    other = missing_verdict("line10", epoch, 3, FaultReason.STALE, "")
    endpoint = f"ipc://{runtime_dir}/verdicts"
    with Sockets() as sockets:
        publisher = sockets.watched_publisher(endpoint, VERDICT_HWM)
        command = [str(NODE), str(EXAMPLES / "subscriber.mjs"), "line1", endpoint]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
            try:
                assert publisher.poll(60_000), "did not subscribe"
                assert publisher.recv() == b"\x01" + verdict_topic("line1")
                for verdict in (other, good, bad, lost):
                    send(publisher, encode_verdict(verdict))
                assert subscriber.stdout is not None
                printed = [subscriber.stdout.readline() for _ in range(3)]
            finally:
                subscriber.kill()
    assert printed == [
        f"line1 {epoch}/0 A-0 OK score 0.2500 of 0.5000\n",
        f"line1 {epoch}/1 - NG score 0.7500 of 0.5000 at 10,20 30x40: a scratch\n",
        f"line1 {epoch}/2 - FAULT frame_lost\n",
    ]
