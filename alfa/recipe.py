"""What one line is judged with beside the model: prompts, memory bank and thresholds that belong together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from alfa.adaptation import TextEmbeddings, embed_prompts
from alfa.backbone import Backbone
from alfa.calibration import Binding, Calibration
from alfa.files import content_hash
from alfa.memory import MemoryBank
from alfa.prompting.promptset import PromptSet, load_prompt_set
from alfa.settings import ModelSettings

# Where good and abnormal prompts weigh the same; without calibration nothing better is known.
UNCALIBRATED_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What one line needs beside the backbone.

    Attributes:
        prompt_set: the prompts of the product.
        text: their embeddings.
        bank: features of good parts, where taught.
        calibration: thresholds, where calibrated.
        patch_size: side of a patch in pixels; maps have the size of the image that the model sees.
        binding: hashes of model, prompts, bank and method: what its scores depend on.
    """

    prompt_set: PromptSet
    text: TextEmbeddings
    bank: MemoryBank | None
    calibration: Calibration | None
    patch_size: int
    binding: Binding

    @classmethod
    def load(
        cls,
        backbone: Backbone,
        prompts_path: Path,
        bank_path: Path | None = None,
        calibration_path: Path | None = None,
        *,
        settings: ModelSettings,
    ) -> Recipe:
        """Read the files of one line, check that they belong together, and encode the prompts once.

        Args:
            backbone: the model that will run.
            prompts_path: prompt file.
            bank_path: memory bank, where taught.
            calibration_path: thresholds, where calibrated.
            settings: those that `judge` will get; thresholds made under others are refused.

        Raises:
            BadInput: a file is missing or damaged, or was made for another model, prompt set or bank.
        """
        prompt_set = load_prompt_set(prompts_path)
        bank = None if bank_path is None else _matching_bank(backbone, bank_path)
        binding = Binding(
            weights_hash=backbone.weights_hash,
            prompts_hash=prompt_set.content_hash,
            bank_hash="" if bank is None else bank.content_hash,
            method_hash=method_hash(backbone, settings),
        )
        return cls(
            prompt_set=prompt_set,
            text=embed_prompts(backbone, prompt_set, where=str(prompts_path)),
            bank=bank,
            calibration=None
            if calibration_path is None
            else _matching_calibration(binding, calibration_path),
            patch_size=backbone.patch_size,
            binding=binding,
        )

    def with_prompts(self, backbone: Backbone, prompts_path: Path) -> Recipe:
        """The same with other prompts, to compare the two; the thresholds stay those of the old prompts.

        Raises:
            BadInput: the prompt file is missing, damaged, or has prompts too long for the model.
        """
        prompt_set = load_prompt_set(prompts_path)
        return replace(
            self,
            prompt_set=prompt_set,
            text=embed_prompts(backbone, prompt_set, where=str(prompts_path)),
            binding=replace(self.binding, prompts_hash=prompt_set.content_hash),
        )

    @property
    def prompts_hash(self) -> str:
        """Content hash of the prompts."""
        return self.binding.prompts_hash

    @property
    def bank_hash(self) -> str:
        """Content hash of the memory bank; empty without one."""
        return self.binding.bank_hash

    @property
    def calibration_hash(self) -> str:
        """Content hash of the calibration; empty without one."""
        return "" if self.calibration is None else self.calibration.content_hash

    @property
    def score_threshold(self) -> float:
        """Scores above it are anomalous."""
        return UNCALIBRATED_THRESHOLD if self.calibration is None else self.calibration.score_threshold

    @property
    def map_threshold(self) -> float:
        """Map values above it make the region."""
        return UNCALIBRATED_THRESHOLD if self.calibration is None else self.calibration.map_threshold

    @property
    def map_scale(self) -> tuple[float, float]:
        """(good median, threshold) of the map: the fixed scale on which it is shown."""
        if self.calibration is None:
            return 0.0, UNCALIBRATED_THRESHOLD
        return self.calibration.map_median, self.calibration.map_threshold


def method_hash(backbone: Backbone, settings: ModelSettings) -> str:
    """Names everything but weights, prompts and bank that the scores depend on."""
    method = {
        "scales": settings.scales,
        "local": settings.local,
        "top_share": settings.top_share,
        "aligner": settings.aligner,
        "temperature": settings.temperature,
        "contextual": settings.contextual,
        "contextual_quantile": settings.contextual_quantile,
        "contextual_k": settings.contextual_k,
        "bank_weight": settings.bank_weight,
        "bank_foreground": settings.bank_foreground,
        "preprocess_hash": backbone.preprocess_hash,
        # A threshold held in float32 is not held in bfloat16.
        "dtype": str(backbone.dtype),
    }
    if settings.mode != "exact":
        # Left out otherwise: thresholds made before there was another mode stay valid.
        method["mode"] = settings.mode
    return content_hash(json.dumps(method, sort_keys=True).encode())


def _matching_bank(backbone: Backbone, path: Path) -> MemoryBank:
    bank = MemoryBank.load(path)
    bank.require_match(backbone, path)
    return bank.to(backbone.device)


def _matching_calibration(binding: Binding, path: Path) -> Calibration:
    calibration = Calibration.load(path)
    calibration.require_match(binding, path)
    return calibration
