"""This machine's own matmul peak: what every share of a peak in this suite is a share of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.machine import native_precisions
from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn, torch_threads, waited_for

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Square ones, and a transformer's own: many tokens through a projection up and down.
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 896, 3584), (4096, 3584, 896))
SHAPES_ON_GPU = ((4096, 4096, 4096), (8192, 8192, 8192), (65536, 896, 3584), (65536, 3584, 896))
_ROUNDS = 7
_NAN = float("nan")


def peak_flops(
    dtype: torch.dtype, device: torch.device, shapes: Sequence[tuple[int, int, int]], rounds: int
) -> float:
    """The most floating-point operations a second that a product of one of the shapes reached.

    Args:
        dtype: of both factors and the result.
        device: to multiply on.
        shapes: (m, k, n) of (m, k) @ (k, n) each.
        rounds: how often each product is tried; the fastest counts, because it is a peak.
    """
    return max(_flops(shape, dtype, device, rounds) for shape in shapes)


def _flops(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device, rounds: int) -> float:
    m, k, n = shape
    left, right = torch.randn(m, k, device=device).to(dtype), torch.randn(n, k, device=device).to(dtype)
    bias = torch.zeros(n, device=device, dtype=dtype)
    out = torch.empty(m, n, device=device, dtype=dtype)
    ways: list[Callable[[], Tensor]] = [
        lambda: torch.mm(left, right.T, out=out),
        lambda: functional.linear(left, right, bias),
    ]
    with torch.inference_mode():
        timings = in_turn([waited_for(way, device) for way in ways], rounds)
    return 2 * m * k * n / min(timing.best for timing in timings)


def run(effort: Effort) -> list[Row]:
    """Per precision: on one core and on all threads; on the GPU where there is one."""
    rounds = 1 if effort.quick else _ROUNDS
    shapes = SHAPES[:1] if effort.quick else SHAPES
    every = torch.get_num_threads()
    rows = []
    for name, dtype in _DTYPES.items():
        for threads in dict.fromkeys((1, every)):
            what = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
            if name not in native_precisions():
                note = "not run: the processor has no such instructions and goes through fp32"
                rows.append(Row(what, _NAN, "GFLOP/s", note=note))
                continue
            with torch_threads(threads):
                reached = peak_flops(dtype, torch.device("cpu"), shapes, rounds)
            rows.append(Row(what, reached / 1e9, "GFLOP/s"))
    if torch.cuda.is_available():
        for name, dtype in _DTYPES.items():
            reached = peak_flops(dtype, torch.device("cuda"), SHAPES_ON_GPU, rounds)
            rows.append(Row(f"{name}, {torch.cuda.get_device_name()}", reached / 1e9, "GFLOP/s"))
    return rows


BENCHMARK = Benchmark("matmul", "Matrix product, best of shapes and calls", run)
