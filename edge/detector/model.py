"""The model and recipes of a running detector: loaded and reloaded beside the loop that serves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from alfa.errors import AlfaError, Fault
from edge.background import in_background
from edge.detector import recipes
from edge.detector.recipes import LineRecipe, Loaded
from edge.settings import Settings

# What loading raises for files, devices and networks that are not as they should be.
_LOAD_ERRORS = (AlfaError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Refused:
    """A reload whose files cannot be used; what was loaded before stays in force."""

    why: str


class Model:
    """Loads in the background, once at start and again at each reload.

    Args:
        config: the file, read again at each reload.
        settings: as read from it.
        detector: whose lines are loaded.
        log: where events go.
    """

    def __init__(
        self, config: Path, settings: Settings, detector: str, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._config = config
        self._detector = detector
        self._log = log
        self._loaded: Loaded | None = None
        self._reloading: Future[Mapping[str, LineRecipe]] | None = None
        self._loading = in_background("load", partial(recipes.load, settings, detector))

    @property
    def computing(self) -> bool:
        """Whether a load is under way."""
        return not self._loading.done() or (self._reloading is not None and not self._reloading.done())

    def take_loaded(self) -> Loaded | None:
        """The model, once: at the first call after it was loaded.

        Raises:
            BadInput: a file is wrong or does not fit the model.
            Fault: the model cannot be loaded.
        """
        if self._loaded is not None or not self._loading.done():
            return None
        try:
            self._loaded = self._loading.result()
        except AlfaError:
            raise
        except _LOAD_ERRORS as error:
            raise Fault("model_unavailable", f"cannot load the model: {error}") from error
        self._warn_of_banks(self._loaded.recipes)
        return self._loaded

    def can_reload(self) -> bool:
        """Whether `start_reload` may be called now; a reload asked for before that has to wait."""
        return self._loaded is not None and self._reloading is None

    def start_reload(self) -> None:
        """Load the recipes as their files are now, beside those in use."""
        assert self._loaded is not None
        self._log.info("reloading")
        work = partial(recipes.reload, self._loaded, self._config, self._detector)
        self._reloading = in_background("reload", work)

    def take_reloaded(self) -> Mapping[str, LineRecipe] | Refused | None:
        """What a reload came to, once: the new recipes or why they were refused; None while there is none."""
        if self._reloading is None or not self._reloading.done():
            return None
        reloading, self._reloading = self._reloading, None
        try:
            changed = reloading.result()
        except _LOAD_ERRORS as error:
            self._log.error("reload_refused", detail=str(error))
            return Refused(f"reload refused, the recipes before it stay: {error}")
        self._log.info("reloaded", prompts={line: of.stamp.prompts for line, of in changed.items()})
        self._warn_of_banks(changed)
        return changed

    def _warn_of_banks(self, recipes: Mapping[str, LineRecipe]) -> None:
        """A bank's distances come on top of the score; the threshold without calibration allows for none."""
        for line, of_line in recipes.items():
            if of_line.recipe.bank is not None and of_line.recipe.calibration is None:
                self._log.warning(
                    "bank_without_calibration",
                    line=line,
                    detail="nearly all parts will be NG; make thresholds with `alfa-calibrate`",
                )
