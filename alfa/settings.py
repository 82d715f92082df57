"""The `[model]` and `[llm]` tables of config.toml: which backbone, how it runs, the method's own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from alfa.tables import Table, first_problem, read_toml

EMBEDDED_MODEL = "alfa-mini"

ContextualForm = Literal["paper", "robust", "none"]
# How much of each end of the other side's interval the form `robust` cuts off.
DEFAULT_QUANTILE = 0.05

AlignerName = Literal[
    "none",
    "rank-one",
    "rank-one-half",
    "rank-one-double",
    "value",
    "ridge",
    "residual",
    "centred",
    "value-sum",
    "contrast",
    "rank-one+value-sum",
    "rank-one+contrast",
    "rank-one+value-sum+contrast",
]
_ALIGNERS_ON_VALUES = ("value", "ridge", "value-sum")


class ModelSettings(Table):
    """Backbone and method.

    Frozen, so that it can be part of a hash or a cache key.
    """

    name: str = Field(EMBEDDED_MODEL, min_length=1, description="`alfa-mini` or an open_clip model name")
    pretrained: str = Field(
        "", description="open_clip tag or local weights file; empty for alfa-mini or random weights"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="numeric format of the image tower; auto: 16 bits where the device multiplies them fast, "
        "on a GPU fp16 for alfa-mini and bf16 for other models (docs/performance.md)",
    )
    resolution: int = Field(
        0, ge=0, le=2048, description="side in pixels of a square image; 0 is the model's own"
    )
    keep_aspect: bool = Field(
        True, description="keep an image's shape (positions are interpolated) instead of squashing it"
    )
    scales: tuple[int, ...] = Field((2, 3), description="window sides in patches (Sec. 4.3)")
    mode: Literal["exact", "fast"] = Field(
        "exact",
        description="exact: windows one patch apart, as in the paper; fast: windows side by side, a third of "
        "the time or less and a little of the quality (docs/performance.md)",
    )
    local: Literal["auto", "windows", "patches", "both"] = Field(
        "auto",
        description="what the map is made of: windows (Sec. 4.3), text-aligned patch tokens, or both; "
        "auto takes the patch tokens where the model has them, else windows",
    )
    aligner: AlignerName = Field("rank-one", description="form of the fine-grained aligner, Sec. 4.3")
    temperature: float = Field(0.07, gt=0.0, le=10.0, description="softmax temperature tau of Eq. 10-11")
    contextual: ContextualForm = Field(
        "paper", description="which prompts count for an image: interval of Eq. 4, between quantiles, or all"
    )
    contextual_quantile: float = Field(
        DEFAULT_QUANTILE,
        ge=0.0,
        lt=0.5,
        description="for contextual = robust: part cut off at each end of an interval",
    )
    contextual_k: float = Field(1.0, gt=0.0, le=1000.0, description="slope k of the contextual score, Eq. 4")
    top_share: float = Field(
        0.02,
        ge=0.0,
        le=1.0,
        description="share of the patches, the highest, whose mean stands for max S_L; 0 is the maximum",
    )
    # A distance is at most 1000 times what is typical, and float16 maps hold no more than 65,504.
    bank_weight: float = Field(
        1.0, ge=0.0, le=50.0, description="weight of the memory bank's distances beside S_L, few-shot"
    )
    bank_foreground: bool = Field(
        True, description="keep the bank's distances off the background, where the taught parts show one"
    )
    tokens_at_once: int = Field(
        0,
        ge=0,
        le=1 << 20,
        description="window tokens that go through the tower at once; 0 chooses by device",
    )
    cuda_graphs: bool = Field(
        True,
        description="on a GPU, record the pass of each shape of batch once and replay it; the same results",
    )
    threads: int = Field(0, ge=0, le=256, description="CPU threads for torch; 0 leaves torch's own choice")

    @property
    def needs_values(self) -> bool:
        """Whether the aligner reads value vectors, which the backbone otherwise does not compute."""
        return any(part in _ALIGNERS_ON_VALUES for part in self.aligner.split("+"))

    def step(self, scale: int) -> int:
        """Patches from one window of that scale to the next."""
        return 1 if self.mode == "exact" else scale

    @field_validator("scales")
    @classmethod
    def _scales_are_distinct(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if not scales or any(scale not in (2, 3, 4) for scale in scales) or len(set(scales)) != len(scales):
            raise ValueError("give one or more different scales out of 2, 3 and 4")
        return tuple(sorted(scales))


def uses_windows(local: str, has_joint_patches: bool) -> bool:
    """Whether the map has window levels, for a model with or without text-aligned patch tokens."""
    return local in ("windows", "both") or (local == "auto" and not has_joint_patches)


class LlmSettings(Table):
    """The `[llm]` table: any OpenAI-compatible endpoint for `alfa-prompts generate`; never the key."""

    base_url: str = Field("", description="address of the endpoint, ending in /v1; empty for OpenAI's own")
    model: str = Field("gpt-4o-mini", min_length=1, description="model name at that endpoint")
    timeout_s: float = Field(60.0, gt=0, le=3600, description="of one request")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature")


def load_model_settings(config: Path | None) -> ModelSettings:
    """Read only the `[model]` table of `config`, or the defaults where no file is given.

    Raises:
        BadInput: the file is missing or malformed, or the table holds an unknown key or a wrong value.
    """
    if config is None:
        return ModelSettings()
    table = read_toml(config).get("model", {})
    try:
        return ModelSettings.model_validate(table)
    except ValidationError as error:
        raise first_problem(config, error, prefix="model") from error
