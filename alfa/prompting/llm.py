"""A language model behind any OpenAI-compatible endpoint: settings, key, one question at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alfa.errors import BadInput, Fault, cause
from alfa.prompting.queries import Answer, Query
from alfa.settings import LlmSettings
from alfa.tables import first_problem, read_toml

if TYPE_CHECKING:
    import openai

# The product's own name first: a plant's gateway key must not be shadowed by a developer's.
_KEY_VARIABLES = ("ALFA_LLM_KEY", "OPENAI_API_KEY")
_CREDENTIAL = "llm-key"
_CUT_SHORT = "length"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret that no log line, traceback or repr shows."""

    secret: str = field(repr=False)


def load_llm_settings(config: Path | None) -> LlmSettings:
    """Read only the `[llm]` table of `config`, or the defaults where no file is given.

    Raises:
        BadInput: the file is missing or malformed, or the table holds an unknown key or a wrong value.
    """
    if config is None:
        return LlmSettings()
    try:
        return LlmSettings.model_validate(read_toml(config).get("llm", {}))
    except ValidationError as error:
        raise first_problem(config, error, prefix="llm") from error


def find_key(environment: Mapping[str, str], base_url: str) -> ApiKey:
    """The endpoint's key: from ALFA_LLM_KEY, OPENAI_API_KEY, or systemd's credential `llm-key`.

    An endpoint of one's own often wants none; OpenAI's always does.

    Raises:
        BadInput: the key cannot be read, or there is none and OpenAI's own endpoint is asked.
    """
    for name in _KEY_VARIABLES:
        if environment.get(name, "").strip():
            return ApiKey(environment[name].strip())
    credential = _credential(environment)
    if credential is not None:
        return credential
    if not base_url:
        advice = "no key for OpenAI's endpoint; set it, or give --base-url of an endpoint of your own"
        raise BadInput("environment", _KEY_VARIABLES[0], None, advice)
    return ApiKey("none")


def require_address(option: str, base_url: str) -> None:
    """Refuse what cannot be an endpoint's address.

    Raises:
        BadInput: it is neither empty nor http(s).
    """
    if base_url and not base_url.startswith(("http://", "https://")):
        raise BadInput(option, "", base_url, "is no address; it starts with http:// or https://")
    try:
        _ = urlsplit(base_url).port
    except ValueError as error:
        raise BadInput(option, "", base_url, f"is no address ({error}); check host and port") from error


def ask_all(queries: Iterable[Query], settings: LlmSettings, key: ApiKey) -> Iterator[Answer]:
    """Ask each query in its own conversation; answers come as they arrive.

    Raises:
        Fault: unreachable, timed out, refused, or an answer that is none; the key is never in it.
    """
    # The client takes a second to import: commands that never talk to a model do not pay for it.
    import openai

    with openai.OpenAI(
        api_key=key.secret, base_url=settings.base_url or None, timeout=settings.timeout_s
    ) as client:
        for query in queries:
            yield Answer(query, _ask(client, settings, query, key))


def _ask(client: openai.OpenAI, settings: LlmSettings, query: Query, key: ApiKey) -> str:
    import openai

    where = settings.base_url or "OpenAI"
    try:
        response = client.chat.completions.with_raw_response.create(
            model=settings.model,
            messages=[{"role": "user", "content": query.text}],
            temperature=settings.temperature,
        )
        body = response.text
    except openai.APITimeoutError as error:
        raise Fault("llm_timeout", f"{where} did not answer within {settings.timeout_s:g} s") from error
    except openai.APIConnectionError as error:
        raise Fault("llm_unreachable", f"{where}: {cause(error.__cause__ or error, key.secret)}") from error
    except openai.AuthenticationError as error:
        raise Fault("llm_refused", f"{where} refused the key (401); check {_KEY_VARIABLES[0]}") from error
    except openai.RateLimitError as error:
        raise Fault(
            "llm_rate_limit", f"{where}: {cause(error, key.secret)}; wait or use another key"
        ) from error
    except openai.OpenAIError as error:
        raise Fault("llm_error", f"{where}: {cause(error, key.secret)}") from error
    return _content(body, where)


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The part of a chat completion that is used; everything else may be as it likes."""

    choices: list[_Choice] = Field(min_length=1)


def _content(body: str, where: str) -> str:
    """The answer's text; what was cut off in the middle of a line is left out with its line."""
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError as error:
        detail = (
            f"{where} did not answer in the form of a chat completion; check the address (it ends in /v1)"
        )
        raise Fault("llm_answer_unreadable", detail) from error
    content = (choice.message.content or "").strip()
    if choice.finish_reason == _CUT_SHORT:
        content = content.rpartition("\n")[0]
    if not content:
        raise Fault("llm_answer_empty", f"{where} answered without text")
    return content


def _credential(environment: Mapping[str, str]) -> ApiKey | None:
    directory = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(directory) / _CREDENTIAL if directory else None
    if path is None or not path.is_file():
        return None
    if not os.access(path, os.R_OK):
        raise BadInput(path, "", None, "cannot be read by this user; check LoadCredential= in the unit")
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise BadInput(path, "", None, "is empty; put the key there")
    return ApiKey(secret)
