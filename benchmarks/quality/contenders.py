"""The methods that are compared, each as a function of image features; ours among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from alfa.backbone import Backbone
from alfa.evaluation.variants import ScoresLike
from alfa.features import ImageFeatures
from alfa.inspector import score
from alfa.memory import MemoryBank
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from benchmarks.quality.peers import anomaly_dino, patchcore, winclip

Method = Callable[[ImageFeatures], ScoresLike]


@dataclass(frozen=True, slots=True, eq=False)
class TaughtImage:
    """A good image to teach from.

    Attributes:
        features: of this image alone.
        source: content hash of its file.
    """

    features: ImageFeatures
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One row of the comparison.

    Attributes:
        name: as shown.
        untaught: the method without good images, where it can do without.
        teach: good images and a seed -> the method that knows them.
    """

    name: str
    untaught: Method | None
    teach: Callable[[Sequence[TaughtImage], int], Method]


def load_with_windows(settings: ModelSettings) -> Backbone:
    """The backbone that the settings name, with windows even where ALFA's own map does without them.

    WinCLIP is made of windows. ALFA is scored by its settings on the same features, and reads of them what
    these say: the windows it is given beside change nothing.

    Raises:
        BadInput: the settings name no usable model.
        Fault: weights had to be downloaded and could not be.
    """
    backbone = Backbone.load(settings)
    if backbone.scales:
        return backbone
    return Backbone.load(settings.model_copy(update={"local": "both"}))


def contenders(backbone: Backbone, recipe: Recipe, settings: ModelSettings) -> list[Contender]:
    """All of them for one class of parts.

    ALFA's prompts are the recipe's; WinCLIP makes its own from the recipe's class name. WinCLIP runs at
    CLIP's temperature and at ours, so that neither method is judged by a choice made for the other. ALFA on
    windows only is the paper's own path and sees what WinCLIP sees: the image and its windows.

    Args:
        backbone: the model of all, from `load_with_windows`.
        recipe: prompts of the class, without bank.
        settings: ALFA's numbers.
    """
    direction = winclip.class_direction(backbone, recipe.prompt_set.class_name)
    rows = [_alfa("ALFA", backbone, recipe, settings)]
    if settings.local != "windows":
        windows_only = settings.model_copy(update={"local": "windows"})
        rows.append(_alfa("ALFA, windows only", backbone, recipe, windows_only))
    temperatures = dict.fromkeys((winclip.CLIP_TEMPERATURE, settings.temperature))
    rows += [_winclip(direction, temperature) for temperature in temperatures]
    return [*rows, _anomaly_dino(), _patchcore()]


def _alfa(name: str, backbone: Backbone, recipe: Recipe, settings: ModelSettings) -> Contender:
    def method(recipe: Recipe) -> Method:
        return lambda features: score(features, recipe, settings)

    def teach(images: Sequence[TaughtImage], _seed: int) -> Method:
        bank = MemoryBank.build(
            [each.features for each in images], backbone, [each.source for each in images]
        )
        return method(replace(recipe, bank=bank))

    return Contender(name, method(recipe), teach)


def _winclip(direction: Tensor, temperature: float) -> Contender:
    def untaught(features: ImageFeatures) -> ScoresLike:
        return winclip.zero_shot(features, direction, temperature)

    def teach(images: Sequence[TaughtImage], _seed: int) -> Method:
        references = winclip.gather_references([each.features for each in images])
        return lambda features: winclip.few_shot(features, direction, references, temperature)

    return Contender(f"WinCLIP, tau {temperature:g}", untaught, teach)


def _anomaly_dino() -> Contender:
    def teach(images: Sequence[TaughtImage], _seed: int) -> Method:
        rows = anomaly_dino.gather_patches([each.features for each in images])
        return lambda features: anomaly_dino.few_shot(features, rows)

    return Contender("AnomalyDINO-like", None, teach)


def _patchcore() -> Contender:
    def teach(images: Sequence[TaughtImage], seed: int) -> Method:
        rows = patchcore.coreset([each.features for each in images], seed)
        return lambda features: patchcore.few_shot(features, rows)

    return Contender("PatchCore-like", None, teach)
