"""Which device the model runs on, and in which precision."""

from __future__ import annotations

import torch

from alfa.errors import BadInput

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_named(name: str) -> torch.device:
    """The device of `model.device`: `auto` is the GPU where there is one.

    Raises:
        BadInput: a GPU that this machine does not offer.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        advice = f"this machine offers {found} CUDA device(s) to torch; use auto or cpu, or check the driver"
        raise BadInput("model", "device", name, advice)
    return device


def dtype_for(precision: str, device: torch.device, half: torch.dtype) -> torch.dtype:
    """The number type of the image tower.

    Args:
        precision: `model.precision`; `auto` is what the device multiplies fast.
        device: where the tower is.
        half: the model's own 16-bit format (`alfa.clip_model.ClipModel`), for a GPU, which multiplies either
            as fast. On a processor bfloat16 alone was measured.
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return half
    return torch.bfloat16 if cpu_multiplies_bf16() else torch.float32


def cpu_multiplies_bf16() -> bool:
    """Whether the processor has instructions for it; without them bfloat16 is slower than float32."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
