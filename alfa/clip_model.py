"""An open_clip model with its weights, whichever way they came.

Importing this module imports open_clip, which takes seconds: `alfa.backbone` does so on loading only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

from alfa.errors import BadInput, Fault, cause
from alfa.patch_head import PatchHead


@dataclass(frozen=True, slots=True, eq=False)
class ClipModel:
    """An open_clip model with its weights, in evaluation mode, float32, on the CPU.

    Attributes:
        clip: open_clip's CLIP, CustomTextCLIP or CoCa.
        tokenizer: open_clip's tokenizer for it.
        model_id: name and origin of the weights, such as `ViT-B-16-plus-240/laion400m_e32`.
        weights_hash: first digits of SHA-256 over the weight files, or over the random weights.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        patch_head: for text-aligned patch tokens, where the model has them.
        half: the 16-bit format for its image tower on a GPU: float16 where its weights are stored so, else
            bfloat16, which is rougher but overflows no sooner than float32.
    """

    clip: Any
    tokenizer: Any
    model_id: str
    weights_hash: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch_head: PatchHead | None = None
    half: torch.dtype = torch.bfloat16

    def token_counts(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, start and end tokens included, before any cut."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            return [len(self.tokenizer.encode(prompt)) + 2 for prompt in prompts]
        cleaned = [self.tokenizer.clean_fn(prompt) for prompt in prompts]
        return [len(tokens) for tokens in self.tokenizer.tokenizer(cleaned).input_ids]


def tokenizer_named(name: str) -> Any:  # noqa: ANN401 - open_clip is untyped
    """open_clip's tokenizer of a model.

    Args:
        name: as open_clip knows it, or `local-dir:` and a directory.

    Raises:
        BadInput: it needs a package that is missing, or is of a kind that is not supported.
        Fault: it cannot be downloaded or read.
    """
    try:
        tokenizer = open_clip.get_tokenizer(name)
    except ModuleNotFoundError as error:
        advice = f"its tokenizer needs the package {error.name}; install it"
        raise BadInput("model", "name", name, advice) from error
    except (OSError, ValueError) as error:
        detail = f"the tokenizer of {name} cannot be downloaded or read ({cause(error)})"
        raise Fault("tokenizer_unavailable", detail) from error
    if not isinstance(tokenizer, (SimpleTokenizer, HFTokenizer)):
        raise BadInput("model", "name", name, "its tokenizer is not supported; choose another model")
    return tokenizer


def unusable(path: Path, error: BaseException) -> BadInput:
    """A weights file that open_clip, torch or safetensors could not make a model of."""
    advice = f"is cut short or holds the weights of another model ({cause(error)}); copy it again"
    return BadInput(path, "", None, advice)
