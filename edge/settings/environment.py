"""Variables `ALFA__TABLE__KEY`: which there are, and which of them a problem comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import takewhile

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from alfa.errors import BadInput
from edge.settings.whole import ENVIRONMENT, Settings


class FileSettings(Settings):
    """As the file alone has them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Without the environment."""
        return (init_settings,)


def variables() -> Mapping[str, list[str]]:
    """Every variable with our prefix, and the key that it sets, part by part."""
    return {
        variable: variable[len(ENVIRONMENT) :].lower().split("__")
        for variable in os.environ
        if variable.upper().startswith(ENVIRONMENT)
    }


def require_known_tables() -> None:
    """pydantic-settings passes over a variable of a table that it does not know: a slip would have no effect.

    Raises:
        BadInput: a variable with our prefix names no table.
    """
    for variable, (table, *_) in variables().items():
        if table not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise BadInput("environment", variable, None, f"no table '{table}'; the tables are {known}")


def told_by_variable(found: BadInput) -> BadInput:
    """A problem that the environment brought, by the variables that are nearest to its key."""
    keys = variables()
    shared = {name: _shared(parts, found.key.split(".")) for name, parts in keys.items()}
    nearest = max(shared.values())
    names = ", ".join(name for name, count in shared.items() if count == nearest)
    of_key = f" ({found.key})" if found.key and found.key.split(".") not in keys.values() else ""
    return BadInput("environment", names + of_key, found.value, found.advice)


def _shared(one: list[str], other: list[str]) -> int:
    """How many parts two keys have in common, from the first on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
