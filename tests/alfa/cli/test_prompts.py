"""`alfa-prompts` against a real HTTP server that speaks the chat completions protocol."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from alfa.cli import prompts
from alfa.prompting.promptset import PromptSet, Provenance, load_prompt_set, save_prompt_set
from alfa.prompting.queries import FEWEST_PER_SIDE, queries_for

Command = Callable[..., Any]

SECRET = "sk-very-secret-0123456789"
NO_WAIT = {"retry-after-ms": "1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server sends for one request.

    Attributes:
        body: of the answer.
        status: of HTTP; 0 closes the connection without a word.
        headers: beside the usual ones.
        missing: bytes that are announced and never sent, as when a connection is cut.
        stalls: nothing more comes, and the connection stays.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    stalls: bool = False


@dataclass(slots=True)
class Endpoint:
    """A language model's endpoint under test."""

    address: str
    reply: Callable[[str], Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    asked_s: list[float] = field(default_factory=list)  # when, CLOCK_MONOTONIC
    released: threading.Event = field(default_factory=threading.Event)


def _completion(text: str | None, finish_reason: str = "stop") -> Reply:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "recorded",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return Reply(json.dumps(completion).encode())


PARTS = ["rim", "hole", "thread", "tooth", "face", "edge", "arm", "notch", "corner", "ring", "core", "side"]


def _recorded(query: str) -> Reply:
    """What chat models answer, small talk and numbers included."""
    number = [known.text for known in queries_for("metal nut")].index(query)
    if query.startswith("Q:"):
        return _completion(" a bent tooth\n- rust on the rim\n- a scratch\n- a dent\n- a stain\n- a crack")
    wanted = query.splitlines()[1].removeprefix("State the description beginning with: ")
    lines = [f"{i}. **{wanted}** with a {part} of kind {number}." for i, part in enumerate(PARTS, start=1)]
    return _completion("Sure! Here are 12 descriptions:\n\n" + "\n".join(lines) + "\n\nLet me know!")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A server on a free port of this machine; it gives recorded answers unless told otherwise."""
    state = Endpoint("", _recorded)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(request)
            state.keys.append(self.headers.get("Authorization", ""))
            assert self.path == "/v1/chat/completions"
            state.asked_s.append(time.monotonic())
            reply = state.reply(request["messages"][0]["content"])
            self.close_connection = not reply.status or bool(reply.missing)
            if not reply.status:
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # the client of the time-out test has gone by then
                self.wfile.write(reply.body)
                if reply.stalls:
                    self.wfile.flush()
                    state.released.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    for variable in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ALFA_LLM_KEY", SECRET)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def _generate(command: Command, endpoint: Endpoint, out: Path, *more: object) -> Any:
    arguments = ("generate", "--class", "metal nut", "--base-url", endpoint.address, "--out", out, *more)
    return command(prompts.main, *arguments)


def test_generate_writes_a_prompt_file(command: Command, endpoint: Endpoint, tmp_path: Path) -> None:
    """Four queries of twelve a side, the model's name and the queries kept."""
    out = tmp_path / "nut.toml"
    ended = _generate(command, endpoint, out, "--model", "small", "--domain", "foundry")
    assert ended.exit_code == 0
    written = load_prompt_set(out)
    assert (len(written.normal), len(written.abnormal), len(written.descriptors)) == (48, 48, 6)
    assert written.normal[0] == "A normal image of a metal nut with a rim of kind 0"
    assert written.abnormal[0] == "An abnormal image of a metal nut with a rim of kind 4"
    assert (written.class_name, written.domain) == ("metal nut", "foundry")
    assert written.provenance.model == "small"
    assert written.provenance.queries == tuple(query.text for query in queries_for("metal nut"))
    assert "abnormal: 48 (0 repaired, 8 lines dropped, 0 duplicates" in ended.stdout


def test_the_endpoint_is_asked_the_papers_queries(
    command: Command, endpoint: Endpoint, tmp_path: Path
) -> None:
    """In its protocol, with the model and temperature of the settings, the key in its header."""
    config = tmp_path / "config.toml"
    config.write_text('[llm]\nmodel = "from-file"\ntemperature = 0.25\n')
    assert _generate(command, endpoint, tmp_path / "nut.toml", "--config", config).exit_code == 0
    asked = [request["messages"][0]["content"] for request in endpoint.requests]
    assert any(text.startswith("How to identify an abnormal metal nut in an image?") for text in asked)
    assert any(
        "State the description beginning with: A normal image of a metal nut" in text for text in asked
    )
    assert (
        "Q: What are useful descriptions for distinguishing an anomaly metal nut in a photo?\n"
        "A: There are several key descriptions to tell there is an anomaly metal nut in a photo:\n-"
    ) in asked
    assert {(request["model"], request["temperature"]) for request in endpoint.requests} == {
        ("from-file", 0.25)
    }
    assert set(endpoint.keys) == {f"Bearer {SECRET}"}


def test_dry_run_connects_to_nothing(command: Command, endpoint: Endpoint, tmp_path: Path) -> None:
    """It prints an answer sheet and writes no file."""
    out = tmp_path / "nut.toml"
    ended = _generate(command, endpoint, out, "--dry-run")
    assert ended.exit_code == 0
    assert ended.stdout.count("--- answer ---\n") == len(queries_for("metal nut"))
    assert all(query.text in ended.stdout for query in queries_for("metal nut"))
    assert endpoint.requests == []
    assert not out.exists()


def _refusal(status: int, message: str, **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    return Reply(json.dumps(body).encode(), status, {**NO_WAIT, **headers})


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (_refusal(401, f"Incorrect API key provided: {SECRET}"), "llm_refused: "),
        (_refusal(429, f"Rate limit reached for {SECRET}"), "llm_rate_limit: "),
        (_refusal(404, "The model `nonsense` does not exist"), "llm_error: "),
        (_refusal(500, "overloaded"), "llm_error: "),
        (Reply(b"", status=0), "llm_unreachable: "),
        (Reply(b'{"choices": [', missing=100), "llm_unreachable: "),
        (Reply(b'{"choices": [', 200), "llm_answer_unreadable: "),
        (Reply(b"<html>proxy login</html>", 200, {"Content-Type": "text/html"}), "llm_answer_unreadable: "),
        (Reply(b'{"choices": []}', 200), "llm_answer_unreadable: "),
        (Reply(b'{"choices": [{"message": {"content": 7}}]}', 200), "llm_answer_unreadable: "),
        (Reply(b"", 200), "llm_answer_unreadable: "),
        (_completion(None), "llm_answer_empty: "),
        (_completion(" \n"), "llm_answer_empty: "),
        (_completion("I'm sorry, I cannot help with that."), "too_few_prompts: "),
    ],
)
def test_a_failing_endpoint_is_a_fault_and_nothing_is_written(
    command: Command, endpoint: Endpoint, tmp_path: Path, reply: Reply, line: str
) -> None:
    """One line, exit 3, no file, and the key in no output even when the server sends it back."""
    endpoint.reply = lambda query: reply
    ended = _generate(command, endpoint, tmp_path / "nut.toml")
    assert ended.exit_code == 3
    assert ended.stderr.startswith(f"error: {line}")
    assert len(ended.stderr.splitlines()) == 1
    assert SECRET not in ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_endpoint_that_never_answers_is_a_fault(
    command: Command, endpoint: Endpoint, tmp_path: Path
) -> None:
    """After the timeout of the settings."""

    def hang(query: str) -> Reply:
        endpoint.released.wait(60)
        return _completion("late")

    endpoint.reply = hang
    config = tmp_path / "config.toml"
    config.write_text("[llm]\ntimeout_s = 0.1\n")
    ended = _generate(command, endpoint, tmp_path / "nut.toml", "--config", config)
    assert ended.exit_code == 3
    assert "llm_timeout" in ended.stderr
    assert "did not answer within 0.1 s" in ended.stderr
    assert not (tmp_path / "nut.toml").exists()


def test_an_answer_that_stops_in_the_middle_is_a_fault(
    command: Command, endpoint: Endpoint, tmp_path: Path
) -> None:
    """The timeout holds for the body as well: a server that hangs in it is not waited for without end."""
    whole = _recorded(queries_for("metal nut")[0].text)

    def stall(query: str) -> Reply:
        return replace(whole, body=whole.body[:50], missing=len(whole.body), stalls=True)

    endpoint.reply = stall
    config = tmp_path / "config.toml"
    config.write_text("[llm]\ntimeout_s = 0.1\n")
    ended = _generate(command, endpoint, tmp_path / "nut.toml", "--config", config)
    assert ended.exit_code == 3
    assert "llm_timeout" in ended.stderr


def test_an_endpoint_that_asks_to_wait_is_waited_for(
    command: Command, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Retry-After of a rate limit is kept: the query is asked again then, and no answer is lost."""
    refused = replace(_refusal(429, "slow down"), headers={"Retry-After": "1"})
    endpoint.reply = lambda query: _recorded(query) if len(endpoint.requests) > 1 else refused
    out = tmp_path / "nut.toml"
    assert _generate(command, endpoint, out).exit_code == 0
    assert len(endpoint.requests) == 1 + len(queries_for("metal nut"))
    assert endpoint.asked_s[1] - endpoint.asked_s[0] >= 1
    assert len(load_prompt_set(out).normal) == 48


def test_the_key_is_in_no_log_line(
    command: Command, endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at the level of debugging, of the client or of what it stands on, when all goes wrong."""
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    endpoint.reply = lambda query: _refusal(500, f"no answer for {SECRET}")
    assert _generate(command, endpoint, tmp_path / "nut.toml").exit_code == 3
    assert "chat/completions" in caplog.text
    assert SECRET in endpoint.keys[0]
    assert SECRET not in caplog.text


def test_a_failure_in_the_middle_writes_nothing(command: Command, endpoint: Endpoint, tmp_path: Path) -> None:
    """Half an answer is no prompt file."""
    endpoint.reply = lambda query: _recorded(query) if "normal" in query else _refusal(500, "overloaded")
    assert _generate(command, endpoint, tmp_path / "nut.toml").exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_an_answer_cut_short_loses_its_last_line(
    command: Command, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Half a sentence is no prompt."""

    def cut(query: str) -> Reply:
        if query.startswith("Q:"):
            return _recorded(query)
        text = json.loads(_recorded(query).body)["choices"][0]["message"]["content"].partition("\n12.")[0]
        return _completion(text + "\n12. **A normal image of a metal nut** with a si", "length")

    endpoint.reply = cut
    out = tmp_path / "nut.toml"
    assert _generate(command, endpoint, out).exit_code == 0
    assert len(load_prompt_set(out).normal) == 44


def test_an_existing_file_is_kept_unless_forced(command: Command, endpoint: Endpoint, tmp_path: Path) -> None:
    """Prompts may have been edited by hand; nothing is asked before this is clear."""
    out = tmp_path / "nut.toml"
    out.write_text("mine")
    ended = _generate(command, endpoint, out)
    assert ended.exit_code == 2
    assert "exists; give --force" in ended.stderr
    assert (out.read_text(), endpoint.requests) == ("mine", [])
    assert _generate(command, endpoint, out, "--force").exit_code == 0
    assert load_prompt_set(out).class_name == "metal nut"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--class", " "], "error: --class = ' ': "),
        (["--class", "x" * 61], "error: --class"),
        (
            ["--class", "nut", "--base-url", "localhost:8000"],
            "error: --base-url = 'localhost:8000': is no address",
        ),
        (["--class", "nut", "--config", "missing.toml"], "missing.toml: no such file"),
        (["--class", "nut", "--out", "."], "error: --out = '.': is a directory"),
    ],
)
def test_wrong_use_of_generate(command: Command, endpoint: Endpoint, arguments: list[str], line: str) -> None:
    """Exit 2, one line, nothing asked."""
    ended = command(prompts.main, "generate", *arguments)
    assert ended.exit_code == 2
    assert line in ended.stderr
    assert endpoint.requests == []


def test_openais_endpoint_needs_a_key(
    command: Command, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is asked."""
    monkeypatch.delenv("ALFA_LLM_KEY")
    ended = command(prompts.main, "generate", "--class", "nut", "--out", tmp_path / "nut.toml")
    assert ended.exit_code == 2
    assert "ALFA_LLM_KEY: no key" in ended.stderr


def _filled_sheet(command: Command, path: Path) -> Path:
    """The dry run's sheet with the recorded answers pasted in."""
    sheet = command(prompts.main, "generate", "--class", "metal nut", "--dry-run").stdout
    for query in queries_for("metal nut"):
        answer = json.loads(_recorded(query.text).body)["choices"][0]["message"]["content"]
        sheet = sheet.replace(f"{query.text}\n--- answer ---\n", f"{query.text}\n--- answer ---\n{answer}\n")
    path.write_text(sheet)
    return path


def test_import_gives_what_generate_gives(command: Command, endpoint: Endpoint, tmp_path: Path) -> None:
    """The same answers, pasted by hand, make the same prompt set."""
    generated, imported = tmp_path / "generated.toml", tmp_path / "imported.toml"
    _generate(command, endpoint, generated)
    sheet = _filled_sheet(command, tmp_path / "sheet.txt")
    arguments = ("import", sheet, "--class", "metal nut", "--out", imported, "--model", "chat elsewhere")
    ended = command(prompts.main, *arguments)
    assert ended.exit_code == 0
    assert load_prompt_set(imported).content_hash == load_prompt_set(generated).content_hash
    provenance = load_prompt_set(imported).provenance
    assert (provenance.generator, provenance.model) == ("alfa-prompts import", "chat elsewhere")
    assert provenance.queries == tuple(query.text for query in queries_for("metal nut"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "no such file"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"just an answer", "holds no `=== normal 1 ===` header"),
        (
            b"=== normal 1 ===\nno answer mark",
            "line 1 = '=== normal 1 ===': no \"--- answer ---\" line follows",
        ),
        (b"=== normal 1 ===\nQ\n--- answer ---\n- smooth\n", "normal: 1 usable of 16 needed"),
    ],
)
def test_an_unusable_answer_file_is_refused(
    command: Command, tmp_path: Path, content: bytes | None, line: str
) -> None:
    """Exit 2, one line, nothing written."""
    sheet, out = tmp_path / "sheet.txt", tmp_path / "nut.toml"
    if content is not None:
        sheet.write_bytes(content)
    ended = command(prompts.main, "import", sheet, "--class", "metal nut", "--out", out)
    assert ended.exit_code == 2
    assert line in ended.stderr
    assert not out.exists()


def test_answers_about_another_class_are_refused(command: Command, tmp_path: Path) -> None:
    """A sheet for nuts makes no prompts for bottles."""
    sheet = _filled_sheet(command, tmp_path / "sheet.txt")
    ended = command(prompts.main, "import", sheet, "--class", "bottle", "--out", tmp_path / "bottle.toml")
    assert ended.exit_code == 2
    assert "normal: 0 usable of 16 needed, 56 dropped" in ended.stderr


def _prompt_set(ending: str = "rust") -> PromptSet:
    words = [f"part {chr(97 + index) * 3}" for index in range(FEWEST_PER_SIDE)]
    return PromptSet(
        class_name="nut",
        normal=tuple(f"A normal image of a nut with {word}" for word in words),
        abnormal=tuple(f"An abnormal image of a nut with {ending} at {word}" for word in words),
        descriptors=("rust", "dent", "burr", "[red]gap", "chip"),
        provenance=Provenance("a person", "none", "2024-05-01", ("Q?",)),
    )


@pytest.fixture
def clean_file(tmp_path: Path) -> Path:
    """A prompt file without findings."""
    path = tmp_path / "nut.toml"
    save_prompt_set(_prompt_set(), path)
    return path


def test_check_of_a_clean_file(command: Command, clean_file: Path, tiny_config: Path) -> None:
    """Exit 0, one line."""
    ended = command(prompts.main, "check", clean_file, "--config", tiny_config)
    assert (ended.exit_code, ended.stdout) == (0, f"{clean_file}: clean\n")


def test_check_finds_what_the_models_tokenizer_finds(
    command: Command, tmp_path: Path, tiny_config: Path
) -> None:
    """Under 400 characters, but more tokens than the model reads; without the model it is not seen."""
    path = tmp_path / "nut.toml"
    save_prompt_set(_prompt_set(ending="a b c d e f g h i j k l m " * 6 + "rust"), path)
    ended = command(prompts.main, "check", path, "--config", tiny_config)
    assert ended.exit_code == 1
    assert "over-long: has 9" in ended.stdout
    assert "the model reads 77" in ended.stdout
    assert command(prompts.main, "check", path, "--text-only").exit_code == 0


def test_check_names_file_key_and_prompt(command: Command, tmp_path: Path) -> None:
    """One line a finding, exit 1; several files in one go."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    save_prompt_set(_prompt_set(), good)
    save_prompt_set(_prompt_set(ending="no damage but rust"), bad)
    ended = command(prompts.main, "check", good, bad, "--text-only")
    lines = ended.stdout.splitlines()
    assert ended.exit_code == 1
    assert lines[0] == f"{good}: clean"
    assert lines[1].startswith(
        f"{bad}: abnormal.0 = 'An abnormal image of a nut with no damage but rust at part aaa': "
    )
    assert len(lines) == 1 + FEWEST_PER_SIDE


def test_check_on_images_reports_how_far_the_sides_stand_apart(
    command: Command, clean_file: Path, good_images: Path, tiny_config: Path
) -> None:
    """Overlap and prompts kept, of 72 + 16 a side."""
    ended = command(prompts.main, "check", clean_file, "--images", good_images, "--config", tiny_config)
    assert ended.exit_code == 0
    assert "sides on 30 images" in ended.stdout
    assert "of 88" in ended.stdout


def test_check_of_an_unusable_file(command: Command, clean_file: Path) -> None:
    """Exit 2, as everywhere."""
    clean_file.write_text("schema = 7")
    ended = command(prompts.main, "check", clean_file, "--text-only")
    assert ended.exit_code == 2
    assert "schema = 7: this release reads version 1" in ended.stderr


def test_images_cannot_be_compared_without_a_model(
    command: Command, clean_file: Path, good_images: Path
) -> None:
    """A contradiction is refused, not resolved silently."""
    ended = command(prompts.main, "check", clean_file, "--text-only", "--images", good_images)
    assert ended.exit_code == 2


def test_show_prints_every_text_as_it_is(command: Command, clean_file: Path) -> None:
    """Brackets are text, not colour."""
    ended = command(prompts.main, "show", clean_file)
    assert ended.exit_code == 0
    assert "[red]gap" in ended.stdout
    assert _prompt_set().content_hash in ended.stdout
    assert "16 normal, 16 abnormal, and 72 template prompts each" in ended.stdout


def test_show_of_an_unknown_class_lists_the_known(command: Command) -> None:
    """Exit 2 and what there is."""
    ended = command(prompts.main, "show", "nonsense")
    assert ended.exit_code == 2
    assert "bottle, " in ended.stderr
