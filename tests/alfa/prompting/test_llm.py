"""Settings and key of the language model; its protocol is tested through the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from alfa.errors import BadInput
from alfa.prompting.llm import ApiKey, find_key, load_llm_settings


def test_the_products_own_variable_wins() -> None:
    """A developer's OpenAI key does not shadow the plant's."""
    assert find_key({"OPENAI_API_KEY": "b", "ALFA_LLM_KEY": " a "}, "").secret == "a"
    assert find_key({"OPENAI_API_KEY": "b"}, "").secret == "b"


def test_the_key_may_be_a_systemd_credential(tmp_path: Path) -> None:
    """A file `llm-key` in the credentials directory, without its line end."""
    (tmp_path / "llm-key").write_text("secret\n")
    assert find_key({"CREDENTIALS_DIRECTORY": str(tmp_path)}, "").secret == "secret"


def test_an_empty_credential_is_refused(tmp_path: Path) -> None:
    """Better than a refusal by the endpoint."""
    (tmp_path / "llm-key").write_text("\n")
    with pytest.raises(BadInput, match="is empty"):
        find_key({"CREDENTIALS_DIRECTORY": str(tmp_path)}, "http://localhost/v1")


def test_openai_wants_a_key_an_own_endpoint_may_not() -> None:
    """Local servers usually have none."""
    with pytest.raises(BadInput, match="ALFA_LLM_KEY: no key"):
        find_key({}, "")
    assert find_key({}, "http://localhost/v1")


def test_the_key_is_in_no_repr() -> None:
    """Tracebacks and logs print reprs."""
    assert "s3cret" not in repr(ApiKey("s3cret"))


def test_only_the_llm_table_is_read(tmp_path: Path) -> None:
    """Defaults for what it leaves out."""
    config = tmp_path / "config.toml"
    config.write_text('[model]\nname = "whatever"\n[llm]\nmodel = "small"\n')
    settings = load_llm_settings(config)
    assert (settings.model, settings.base_url) == ("small", "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("key = 'x'", "llm.key: unknown key"),
        ("timeout_s = 0", "llm.timeout_s = 0: input should be greater"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, table: str, line: str) -> None:
    """A key in the file above all; what it is must not be shown."""
    config = tmp_path / "config.toml"
    config.write_text(f"[llm]\n{table}\n")
    with pytest.raises(BadInput, match=line.replace(".", r"\.")):
        load_llm_settings(config)
