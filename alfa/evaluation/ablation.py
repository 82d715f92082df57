"""The paper's ablations (Tables 2, 3 and 6) as a list of variants over one feature pass an image.

All are measured on the paper's own path: windows only, no text-aligned patch tokens. Windows of scales 2, 3
and 4 are encoded once; a variant with fewer scales takes its own out of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import TextEmbeddings
from alfa.backbone import Backbone
from alfa.evaluation.variants import ScoresLike, ShotBanks, UndividedScores, Variant, recipe_variant, row_of
from alfa.features import ImageFeatures
from alfa.files import content_hash
from alfa.inspector import score
from alfa.prompting.templates import PROMPTS_PER_LABEL
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from alfa.windows import harmonic_aggregate, harmonic_mean_levels

SCALES = (2, 3, 4)
SCALE_SETS = ((2,), (2, 3), (2, 3, 4))
SHOTS = (0, 1, 2, 4)

# Rows of Table 2, from nothing to the whole method.
ONE_CLASS = "one-class"
TEMPLATES = "templates"
WITH_LLM = "+ LLM"
WITH_SCORING = "+ S_c"
WHOLE_METHOD = "+ aligner"
COMPONENTS = (ONE_CLASS, TEMPLATES, WITH_LLM, WITH_SCORING, WHOLE_METHOD)

# Rows of Table 3: the whole method on some of the prompts.
TEMPLATES_ONLY = "templates only"
LLM_ONLY = "LLM only"
BOTH = "both"

_PAPER_SCALES = (2, 3)


def ablation_settings(settings: ModelSettings) -> ModelSettings:
    """What the backbone of an ablation is loaded with: every scale, and no patch level."""
    return settings.model_copy(update={"scales": SCALES, "local": "windows"})


def whole_method(settings: ModelSettings) -> ModelSettings:
    """The method that rows are taken away from: scales 2 and 3, the settings' aligner and contextual form.

    Where the settings name none of either, the paper's stands in: else the row would repeat the one above.
    """
    stand_ins = {}
    if settings.aligner == "none":
        stand_ins["aligner"] = "rank-one"
    if settings.contextual == "none":
        stand_ins["contextual"] = "paper"
    return settings.model_copy(update={"scales": _PAPER_SCALES, "local": "windows", **stand_ins})


def scales_row(scales: Sequence[int], shots: int) -> str:
    """The row of some scales after k taught images."""
    return f"scales {list(scales)} {row_of(shots)}"


def ablation_variants(
    backbone: Backbone, recipe: Recipe, settings: ModelSettings, banks: ShotBanks
) -> list[Variant]:
    """All rows of Tables 2, 3 and 6.

    Args:
        backbone: loaded with `ablation_settings`.
        recipe: the class's prompts, without a bank.
        settings: of the whole method.
        banks: taught when the images are judged.
    """
    whole = whole_method(settings)
    make = _Maker(backbone, recipe)
    unscored = whole.model_copy(update={"contextual": "none"})
    no_aligner = whole.model_copy(update={"aligner": "none"})
    neither = unscored.model_copy(update={"aligner": "none"})
    templates, llm = _templates(recipe.text), _llm(recipe.text)
    return [
        make.one_class(templates),
        make.of(TEMPLATES, templates, neither),
        make.of(WITH_LLM, recipe.text, neither),
        make.of(WITH_SCORING, recipe.text, no_aligner),
        make.of(TEMPLATES_ONLY, templates, whole),
        make.of(LLM_ONLY, llm, whole),
        *_by_scales(make, whole, banks),
        # Last, because it is the one whose pictures a report shows.
        make.of(WHOLE_METHOD, recipe.text, whole),
    ]


def prompt_counts(recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Normal and abnormal prompts of each row of Table 3."""
    texts = {TEMPLATES_ONLY: _templates(recipe.text), LLM_ONLY: _llm(recipe.text), BOTH: recipe.text}
    return {row: (len(text.normal), len(text.abnormal)) for row, text in texts.items()}


def with_scales(features: ImageFeatures, scales: Sequence[int]) -> ImageFeatures:
    """Features of `SCALES` as if only these had been encoded."""
    levels = [SCALES.index(scale) for scale in scales]
    values = features.values
    return replace(
        features,
        windows=tuple(features.windows[level] for level in levels),
        layouts=tuple(features.layouts[level] for level in levels),
        values=None
        if values is None
        else replace(
            values,
            windows=tuple(values.windows[level] for level in levels),
            agreement=tuple(values.agreement[level] for level in levels),
        ),
    )


def _by_scales(make: _Maker, whole: ModelSettings, banks: ShotBanks) -> list[Variant]:
    variants = []
    for scales in SCALE_SETS:
        settings = whole.model_copy(update={"scales": scales})
        variants.append(make.of(scales_row(scales, 0), make.recipe.text, settings))
        variants += [make.taught(scales, shots, seed, settings, banks) for shots, seed in banks.pairs]
    return variants


@dataclass(frozen=True, slots=True)
class _Maker:
    """Variants of one class."""

    backbone: Backbone
    recipe: Recipe

    def of(self, row: str, text: TextEmbeddings, settings: ModelSettings) -> Variant:
        """Zero-shot with this text and these settings."""
        recipe = replace(self.recipe, text=text)

        def scoring(features: ImageFeatures) -> ScoresLike:
            return score(with_scales(features, settings.scales), recipe, settings)

        return self._variant(row, row, settings, scoring)

    def taught(
        self, scales: tuple[int, ...], shots: int, seed: int, settings: ModelSettings, banks: ShotBanks
    ) -> Variant:
        """After k taught images."""
        row = scales_row(scales, shots)

        def scoring(features: ImageFeatures) -> ScoresLike:
            # The bank is looked up when it is used: a variant is named long before its bank is taught.
            recipe = replace(self.recipe, bank=banks.bank(shots, seed))
            return score(with_scales(features, scales), recipe, settings)

        return self._variant(f"{row} seed {seed}", row, settings, scoring, banks.identity(shots, seed))

    def one_class(self, text: TextEmbeddings) -> Variant:
        """Table 2's first row: how far image and windows are from the mean normal prompt."""
        normal = functional.normalize(text.normal.mean(dim=0), dim=0)
        settings = self.backbone.settings
        return self._variant(ONE_CLASS, ONE_CLASS, settings, lambda features: _distances(features, normal))

    def _variant(
        self,
        name: str,
        row: str,
        settings: ModelSettings,
        scoring: Callable[[ImageFeatures], ScoresLike],
        taught: str = "",
    ) -> Variant:
        plain = recipe_variant(name, self.recipe, settings, self.backbone, row)
        # Variants with the same prompts and settings differ in what they take of them: their name says it.
        identity = content_hash(json.dumps([plain.identity, name, taught]).encode())
        return replace(plain, score=scoring, identity=identity)


@torch.inference_mode()
def _distances(features: ImageFeatures, normal: Tensor) -> UndividedScores:
    """(1 - cos) / 2 to one text vector, (d,); the image's is the score, the windows' are the map."""
    seen = with_scales(features, _PAPER_SCALES)
    image = (1 - seen.image @ normal) / 2
    levels = [
        harmonic_aggregate((1 - windows @ normal) / 2, layout)
        for layout, windows in zip(seen.layouts, seen.windows, strict=True)
    ]
    return UndividedScores(image, harmonic_mean_levels(levels))


def _templates(text: TextEmbeddings) -> TextEmbeddings:
    """The templates' part: they come first on each side."""
    return replace(text, normal=text.normal[:PROMPTS_PER_LABEL], abnormal=text.abnormal[:PROMPTS_PER_LABEL])


def _llm(text: TextEmbeddings) -> TextEmbeddings:
    """The rest, the file's own prompts."""
    return replace(text, normal=text.normal[PROMPTS_PER_LABEL:], abnormal=text.abnormal[PROMPTS_PER_LABEL:])
