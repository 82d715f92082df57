"""The detector as others see it: over its sockets, every part gets one verdict."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import structlog
import torch

from alfa.backbone import Backbone
from alfa.calibration import Calibration
from alfa.errors import BadInput
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from edge.detector.pipeline import PictureDropped
from edge.detector.service import DetectorService
from edge.messages import (
    FaultReason,
    Frame,
    Part,
    ReplayRequest,
    Result,
    ServiceState,
    decode_replay,
    encode_frame,
    encode_replay_request,
    encode_unreadable,
)
from edge.settings import load_settings
from edge.sockets import Sockets, send

MakeFrame = Callable[..., Frame]
ReceiveWithin = Callable[..., list[Part]]
# The bench is a fixture of this directory's conftest; pytest's importlib mode gives it no importable name.
Bench = Any

BROKEN_PROMPTS = "schema = 1\nclass = "


def test_a_part_is_judged(bench: Bench, make_frame: MakeFrame) -> None:
    """A verdict says which part, how it was judged and with what."""
    bench.start()
    bench.send(make_frame(0))
    verdict = bench.verdict(0)
    assert verdict.result in (Result.OK, Result.NG)
    assert 0 < verdict.score < 1
    assert verdict.threshold == 0.5
    assert (verdict.part_id, verdict.judged_by) == ("part-0", "main")
    assert len(verdict.prompts) == len(verdict.model) == 16
    assert {reason.text for reason in verdict.reasons} == {"scratch", "dent"}


def test_an_image_of_another_size_than_the_calibrations_is_counted(
    bench: Bench, make_frame: MakeFrame, tiny_backbone: Backbone
) -> None:
    """With the calibration that the line was loaded with; the part is judged all the same."""
    prompts = bench.directory / "prompts" / "line1.toml"
    binding = Recipe.load(tiny_backbone, prompts, settings=bench.model).binding
    thresholds = dict.fromkeys(("score_median", "score_threshold", "map_median", "map_threshold"), 0.1)
    made = Calibration(n=20, alpha=0.05, **thresholds, **asdict(binding), image_side=4000)
    made.save(bench.directory / "line1.json")
    bench.configure("line1", line_keys='calibration = "line1.json"')
    bench.start()
    bench.send(make_frame(0))
    bench.counter("calibrated_at_another_size", 1)
    assert bench.verdict(0).calibration == made.content_hash


def test_the_stages_add_up_to_the_latency(bench: Bench, make_frame: MakeFrame) -> None:
    """From capture to publication nothing is hidden but the hand-over between threads."""
    bench.start()
    bench.send(make_frame(0, age_ms=100))
    timings = bench.verdict(0).timings
    stages = timings.queue + timings.preprocess + timings.infer + timings.post
    assert timings.queue >= 100
    assert min(timings.preprocess, timings.infer, timings.post) > 0
    assert stages <= timings.total


def test_the_beat_tells_how_long_the_stages_take(bench: Bench, make_frame: MakeFrame) -> None:
    """Of each judged part, what its verdict says, the whole latency included."""
    bench.start()
    bench.send(make_frame(0, age_ms=100), make_frame(1, age_ms=100))
    bench.counter("stage_count", 2)
    counters = bench.beats["line1"].counters
    for stage in ("queue", "infer", "total"):
        told_ms = sum(getattr(bench.verdict(seq).timings, stage) for seq in (0, 1))
        assert counters[f"stage_{stage}_us"] == pytest.approx(1000 * told_ms, abs=1)
    assert counters["stage_total_le_30"] == 0


def test_every_frame_gets_one_verdict(bench: Bench, make_frame: MakeFrame) -> None:
    """Repeated frames are counted and not judged again."""
    bench.start()
    frames = [make_frame(seq) for seq in range(12)]
    bench.send(*frames, *frames)
    bench.counter("duplicate", 12)
    bench.stop()
    assert sorted(verdict.seq for verdict in bench.verdicts) == list(range(12))
    assert {verdict.result for verdict in bench.verdicts} <= {Result.OK, Result.NG}


def test_a_gap_is_frame_lost(bench: Bench, make_frame: MakeFrame) -> None:
    """Parts that were captured and did not arrive are FAULT, one each."""
    bench.start()
    bench.send(make_frame(0), make_frame(3))
    assert [bench.verdict(seq).fault for seq in (1, 2)] == [FaultReason.FRAME_LOST] * 2
    assert bench.verdict(1).prompts == bench.verdict(0).prompts


def test_a_large_gap_does_not_stop_the_beat(bench: Bench, make_frame: MakeFrame) -> None:
    """Of 3,000 lost parts each has its FAULT, and the part after them is judged."""
    bench.start()
    bench.send(make_frame(0), make_frame(3001))
    bench.counter("frame_lost", 3000)
    bench.verdict(3001)
    assert Counter(verdict.seq for verdict in bench.verdicts) == Counter(range(3002))


def test_another_lines_frames_are_not_taken(bench: Bench, make_frame: MakeFrame) -> None:
    """`line10` is not `line1`, though its name begins with it."""
    bench.start()
    bench.send(make_frame(5, line="line10"), camera="line1")
    bench.send(make_frame(0))
    bench.verdict(0)
    assert {verdict.line for verdict in bench.verdicts} == {"line1"}


def test_lines_are_judged_with_their_own_prompts_in_one_batch(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """The same picture on two lines has two scores, from one pass."""
    bench.write_prompts("line2", "bottle")
    bench.configure("line1", "line2")
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.counter("received", 1)
    bench.counter("queue", 0)
    bench.send(make_frame(1), make_frame(0, line="line2"))
    bench.counter("queue", 1)
    bench.counter("queue", 1, line="line2")
    inference_gate.set()
    first, second = bench.verdict(1), bench.verdict(0, line="line2")
    assert first.timings.infer == second.timings.infer
    assert first.prompts != second.prompts
    assert first.score != second.score


def test_an_old_frame_is_stale(bench: Bench, make_frame: MakeFrame) -> None:
    """A part that is past when its turn comes is FAULT, not judged late."""
    bench.configure("line1", line_keys="max_age_ms = 5000")
    bench.start()
    bench.send(make_frame(0, age_ms=5001), make_frame(1))
    verdict = bench.verdict(0)
    assert (verdict.result, verdict.fault, verdict.score) == (Result.FAULT, FaultReason.STALE, None)
    assert bench.verdict(1).result is not Result.FAULT


def test_frames_wait_while_the_model_loads(bench: Bench, make_frame: MakeFrame) -> None:
    """What comes before READY is judged afterwards; what finds no room is FAULT at once."""
    bench.configure("line1", detector_keys="queue = 2", line_keys="max_age_ms = 14000")
    bench.withhold_prompts("line1")
    bench.start(ServiceState.STARTING)
    bench.send(*(make_frame(seq) for seq in range(3)))
    assert bench.verdict(2).fault is FaultReason.QUEUE_FULL
    bench.write_prompts("line1", "plate")
    assert {bench.verdict(seq).fault for seq in (0, 1)} == {FaultReason.NONE}


def test_latest_skips_waiting_frames(bench: Bench, make_frame: MakeFrame) -> None:
    """The newest frame is judged, each one before it that waited is FAULT(skipped)."""
    bench.configure("line1", line_keys='overload = "latest"\nmax_age_ms = 14000')
    bench.withhold_prompts("line1")
    bench.start(ServiceState.STARTING)
    bench.send(*(make_frame(seq) for seq in range(3)))
    assert {bench.verdict(seq).fault for seq in (0, 1)} == {FaultReason.SKIPPED}
    bench.write_prompts("line1", "plate")
    assert bench.verdict(2).fault is FaultReason.NONE


@pytest.mark.parametrize("free_running", [False, True])
def test_latest_skips_frames_while_the_model_works(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event, free_running: bool
) -> None:
    """Prepared or not: each frame ends once, as judged or as skipped, told or only counted."""
    keys = f'overload = "latest"\nfree_running = {str(free_running).lower()}\nmax_age_ms = 14000'
    bench.configure("line1", line_keys=keys)
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.counter("received", 1)
    bench.counter("queue", 0)
    for seq in (1, 2, 3):
        bench.send(make_frame(seq))
    bench.counter("skipped", 2)
    inference_gate.set()
    bench.verdict(3)
    bench.stop()
    skipped = {} if free_running else {1: FaultReason.SKIPPED, 2: FaultReason.SKIPPED}
    assert {v.seq: v.fault for v in bench.verdicts} == {0: FaultReason.NONE, 3: FaultReason.NONE, **skipped}
    assert len(bench.verdicts) == 2 + len(skipped)


def test_a_free_running_line_only_counts_skipped_frames(bench: Bench, make_frame: MakeFrame) -> None:
    """Where frames are not parts, a skipped one is no fault."""
    bench.configure("line1", line_keys='overload = "latest"\nfree_running = true\nmax_age_ms = 14000')
    bench.withhold_prompts("line1")
    bench.start(ServiceState.STARTING)
    bench.send(*(make_frame(seq) for seq in range(3)))
    bench.counter("skipped", 2)
    bench.write_prompts("line1", "plate")
    bench.verdict(2)
    assert [verdict.seq for verdict in bench.verdicts] == [2]


def test_an_undecodable_message_is_counted_and_the_next_part_judged(
    bench: Bench, make_frame: MakeFrame
) -> None:
    """Garbage under the line's topic ends nothing."""
    bench.start()
    bench.send_parts("line1", b"not msgpack", b"")
    bench.send_parts("line1")
    bench.send(make_frame(0))
    assert bench.verdict(0).result is not Result.FAULT
    bench.counter("undecodable", 2)


def test_a_part_without_a_usable_image_is_a_fault_with_its_name(bench: Bench, make_frame: MakeFrame) -> None:
    """Cut short on the way, or never captured: the header says which part it is; its FAULT comes at once."""
    bench.start()
    _, header, pixels = encode_frame(make_frame(0))
    bench.send_parts("line1", header, pixels[:-1])
    absent = replace(make_frame(1).header, unreadable="the camera was frozen")
    bench.send_parts("line1", *encode_unreadable(absent)[1:])
    broken, missing = bench.verdict(0), bench.verdict(1)
    assert {broken.fault, missing.fault} == {FaultReason.UNDECODABLE}
    assert [broken.part_id, missing.part_id] == ["part-0", "part-1"]
    assert broken.detail.startswith("wrong_length: ")
    assert missing.detail == "no_image: the camera was frozen"
    bench.counter("undecodable", 2)
    assert bench.beats["line1"].counters["received"] == 2


def test_a_replay_holds_the_last_verdicts(
    bench: Bench, make_frame: MakeFrame, receive_within: ReceiveWithin
) -> None:
    """A late subscriber gets what was published, unchanged, up to the history's length."""
    bench.configure("line1", detector_keys="history = 2")
    bench.start()
    bench.send(*(make_frame(seq) for seq in range(3)))
    published = [bench.verdict(seq) for seq in range(3)]
    client = bench.replay_client()
    send(client, encode_replay_request(ReplayRequest("line1")))
    replayed = decode_replay(receive_within(client))
    assert replayed == bench.verdicts[-2:]
    assert all(verdict in published for verdict in replayed)


def test_a_bad_replay_request_gets_no_answer_and_ends_nothing(
    bench: Bench, receive_within: ReceiveWithin
) -> None:
    """The next good request is answered."""
    bench.start()
    client = bench.replay_client()
    send(client, [b"nonsense"])
    send(client, encode_replay_request(ReplayRequest("line9")))
    send(client, encode_replay_request(ReplayRequest("line1")))
    assert decode_replay(receive_within(client)) == []
    assert client.poll(0) == 0


def test_beats_come_while_a_batch_is_judged(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """Counters go on and the state is READY while the model works."""
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.counter("received", 1)
    bench.send(make_frame(1))
    bench.counter("received", 2)
    assert bench.beats["line1"].state is ServiceState.READY
    assert not bench.verdicts


def test_the_beat_tells_how_many_waiting_frames_are_prepared(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """With the model held up, what waits for it is told apart from what waits to be prepared."""
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.counter("received", 1)
    bench.counter("queue", 0)
    bench.send(make_frame(1), make_frame(2))
    bench.counter("prepared", 2)
    inference_gate.set()
    bench.counter("prepared", 0)


def test_a_batch_that_hangs_is_a_fault_until_it_ends(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """The beat says FAULT and why; when the batch ends after all, its part is judged and the state READY."""
    bench.configure("line1", detector_keys="hang_s = 1")
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.listen(lambda: bench.beats["line1"].state is ServiceState.FAULT)
    assert "one batch" in bench.beats["line1"].last_error
    inference_gate.set()
    assert bench.verdict(0).result is not Result.FAULT
    bench.listen(lambda: bench.beats["line1"].state is ServiceState.READY)


def test_good_prompts_are_reloaded_without_losing_a_part(bench: Bench, make_frame: MakeFrame) -> None:
    """Parts that come while the new file is read are judged by the old one, later ones by the new one."""
    bench.start()
    bench.send(make_frame(0))
    before = bench.verdict(0).prompts
    bench.withhold_prompts("line1")
    os.kill(os.getpid(), signal.SIGHUP)
    bench.send(make_frame(1))
    assert bench.verdict(1).prompts == before
    bench.write_prompts("line1", "bottle")
    bench.counter("reloaded", 1)
    bench.send(make_frame(2))
    assert bench.verdict(2).prompts != before
    assert {verdict.fault for verdict in bench.verdicts} == {FaultReason.NONE}


def test_a_broken_prompt_file_is_refused_and_the_old_one_stays(bench: Bench, make_frame: MakeFrame) -> None:
    """The beat names the file; parts are judged as before; a good file clears the error."""
    bench.start()
    bench.send(make_frame(0))
    before = bench.verdict(0).prompts
    path: Path = bench.directory / "prompts" / "line1.toml"
    path.write_text(BROKEN_PROMPTS)
    os.kill(os.getpid(), signal.SIGHUP)
    bench.listen(lambda: "line1.toml" in bench.beats["line1"].last_error)
    assert bench.beats["line1"].state is ServiceState.READY
    bench.send(make_frame(1))
    assert bench.verdict(1).prompts == before
    bench.write_prompts("line1", "bottle")
    os.kill(os.getpid(), signal.SIGHUP)
    bench.listen(lambda: not bench.beats["line1"].last_error)
    bench.send(make_frame(2))
    assert bench.verdict(2).prompts != before


# With systemd there, sdnotify leaves closing its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_systemd_shows_a_refused_reload_until_one_succeeds(
    systemd: socket.socket, bench: Bench, make_frame: MakeFrame
) -> None:
    """The file and what is wrong with it, counted; then the hash of the prompts in force."""
    bench.start()
    path: Path = bench.directory / "prompts" / "line1.toml"
    path.write_text(BROKEN_PROMPTS)
    os.kill(os.getpid(), signal.SIGHUP)
    assert f"STATUS=reload refused, the recipes before it stay: {path}: " in _told(systemd, "refused")
    bench.counter("reload_refused", 1)
    bench.write_prompts("line1", "bottle")
    os.kill(os.getpid(), signal.SIGHUP)
    judging = _told(systemd, "STATUS=judging")
    bench.send(make_frame(0))
    assert judging == f"STATUS=judging line1 (prompts {bench.verdict(0).prompts})"


def _told(systemd: socket.socket, words: str) -> str:
    """The next message to systemd with these words in it."""
    while words not in (message := systemd.recv(4096).decode()):
        pass
    return message


def test_another_model_needs_a_restart(bench: Bench) -> None:
    """A reload that would change the model is refused, and says so."""
    bench.start()
    bench.configure("line1", model=bench.model.model_copy(update={"temperature": 1.0}))
    os.kill(os.getpid(), signal.SIGHUP)
    bench.listen(lambda: "restart the detector" in bench.beats["line1"].last_error)


@pytest.fixture
def poisoned_model(tiny_settings: ModelSettings, tmp_path: Path) -> ModelSettings:
    """The tiny model with one image weight that is not a number."""
    weights = safetensors.torch.load_file(tiny_settings.pretrained)
    weights["visual.ln_post.weight"][0] = torch.nan
    path = tmp_path / "poisoned.safetensors"
    safetensors.torch.save_file(weights, path)
    return tiny_settings.model_copy(update={"pretrained": str(path)})


def test_a_score_that_is_not_a_number_is_a_fault(
    bench: Bench, make_frame: MakeFrame, poisoned_model: ModelSettings
) -> None:
    """Never OK, never NG: the part was not judged, and its picture is kept."""
    bench.configure("line1", model=poisoned_model)
    bench.start()
    bench.send(make_frame(0))
    verdict = bench.verdict(0)
    assert (verdict.result, verdict.fault, verdict.score) == (Result.FAULT, FaultReason.NON_FINITE, None)
    bench.listen(lambda: bool(bench.maps))
    assert bench.maps[0].header.seq == 0
    assert bench.maps[0].jpeg


def test_a_map_goes_with_the_picture(bench: Bench, make_frame: MakeFrame) -> None:
    """With a picture for every OK part: a finite map at the model's resolution, and the part as JPEG."""
    bench.configure("line1", detector_keys="map_every_ok = 1")
    bench.start()
    bench.send(make_frame(0))
    bench.listen(lambda: bool(bench.maps))
    assert bench.maps[0].values.shape == (36, 48)
    assert bench.maps[0].jpeg[:2] == b"\xff\xd8"


def test_parts_that_wait_at_the_stop_are_faults(bench: Bench, make_frame: MakeFrame) -> None:
    """A detector that ends leaves no part without an answer."""
    bench.withhold_prompts("line1")
    bench.start(ServiceState.STARTING)
    bench.send(make_frame(0), make_frame(1))
    bench.counter("received", 2)
    bench.stop()
    assert [(v.seq, v.fault) for v in bench.verdicts] == [(seq, FaultReason.NO_VERDICT) for seq in (0, 1)]
    assert bench.abandoned


def test_the_part_in_hand_at_the_stop_is_judged(
    bench: Bench, make_frame: MakeFrame, inference_gate: threading.Event
) -> None:
    """The stop waits for the batch that has begun."""
    bench.start()
    inference_gate.clear()
    bench.send(make_frame(0))
    bench.counter("received", 1)
    bench.counter("queue", 0)
    bench.lifecycle.stop()
    inference_gate.set()
    bench.stop()
    assert [(v.seq, v.fault) for v in bench.verdicts] == [(0, FaultReason.NONE)]


def test_prompts_that_do_not_load_end_the_detector(bench: Bench) -> None:
    """At the start there is no older recipe to go on with: the beat says why, the error names the file."""
    bench.withhold_prompts("line1")
    bench.start(ServiceState.STARTING)
    (bench.directory / "prompts" / "line1.toml").write_text(BROKEN_PROMPTS)
    bench.listen(lambda: bench.beats["line1"].state is ServiceState.FAULT)
    bench.stop()
    assert isinstance(bench.ended_with, BadInput)
    assert "line1.toml" in str(bench.ended_with)


def test_an_unusable_device_ends_the_detector_with_the_part_answered(
    bench: Bench, make_frame: MakeFrame
) -> None:
    """After such an error no kernel runs until the process starts anew."""
    bench.start()

    def fail(module: torch.nn.Module, inputs: object) -> None:
        raise torch.AcceleratorError("illegal memory access", -1)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fail)
    try:
        bench.send(make_frame(0))
        assert bench.verdict(0).fault is FaultReason.MODEL_ERROR
        bench.stop()
    finally:
        hook.remove()
    assert bench.ended_with is not None
    assert bench.ended_with.exit_code == 3
    assert str(bench.ended_with).startswith("judging_ended: ")


def test_a_picture_that_outlasts_the_stop_touches_no_socket(bench: Bench) -> None:
    """Its thread delivers into nothing: the sockets are gone, and it does not raise."""
    with Sockets() as sockets:
        settings, log = load_settings(bench.config), structlog.get_logger()
        service = DetectorService(bench.config, settings, "main", bench.lifecycle, sockets, log)
        bench.lifecycle.stop()
        service.run()
    # As that thread does: to make a real one outlast the stop takes longer than the stop's ten seconds.
    service._deliver([PictureDropped("line1")])


def test_the_first_epoch_after_the_detectors_start_is_taken_as_it_comes(
    bench: Bench, make_frame: MakeFrame
) -> None:
    """A detector that starts mid-shift does not call the parts before it lost; those of a restart it does."""
    bench.start()
    bench.send(make_frame(7), make_frame(1, epoch=2))
    bench.verdict(1, epoch=2)
    assert bench.verdict(0, epoch=2).fault is FaultReason.FRAME_LOST
    assert {verdict.key for verdict in bench.verdicts} == {
        ("line1", 1, 7),
        ("line1", 2, 0),
        ("line1", 2, 1),
    }


def test_grey_and_bgr_frames_are_judged(bench: Bench, make_frame: MakeFrame) -> None:
    """Colour orders may differ from frame to frame; the same picture scores the same in RGB and BGR."""
    bench.start()
    rgb = make_frame(0)
    bgr = Frame(replace(make_frame(1).header, colour="bgr"), rgb.pixels[..., ::-1])
    grey = Frame(replace(make_frame(2).header, colour="grey", channels=1), rgb.pixels[..., :1])
    bench.send(rgb, bgr, grey)
    assert bench.verdict(0).score == pytest.approx(bench.verdict(1).score, abs=1e-6)
    assert bench.verdict(2).result is not Result.FAULT
