"""The machine that figures were measured on, and what makes them doubtful."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from alfa.device import cpu_multiplies_bf16

# Load that is not ours, as a share of all cores, above which figures are noise.
_BUSY_LOAD = 0.25
# A processor without these computes such a product in float32 and rounds, slower than float32 itself.
_FP16_FLAGS = {"avx512_fp16", "amx_fp16", "fphp"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What to print above figures.

    Attributes:
        processor: model name.
        cores: that this process may use.
        caches: such as `L1d 32K, L2 512K, L3 32M`, of one core's view.
        memory_gb: installed, in 10^9 bytes.
        system: kernel and C library.
        python: version.
        torch: version.
        threads: of torch's operations.
        cpu_capability: the vector instructions that torch's own kernels use.
        precisions: in which the processor multiplies natively.
        gpus: names; none where torch sees no CUDA device.
        load: average of the last minute, before anything was measured.
    """

    processor: str
    cores: int
    caches: str
    memory_gb: float
    system: str
    python: str
    torch: str
    threads: int
    cpu_capability: str
    precisions: tuple[str, ...]
    gpus: tuple[str, ...]
    load: float

    @property
    def busy(self) -> bool:
        """Whether something else takes the cores."""
        return self.load > _BUSY_LOAD * self.cores

    def lines(self) -> list[str]:
        """For people."""
        gpus = ", ".join(self.gpus) or "none"
        lines = [
            f"{self.processor}, {self.cores} cores, {self.caches}, {self.memory_gb:.1f} GB",
            f"{self.system}, Python {self.python}, torch {self.torch} with {self.threads} threads "
            f"({self.cpu_capability}), native precisions {' '.join(self.precisions)}, GPU {gpus}",
            f"load average {self.load:.2f}",
        ]
        if self.busy:
            lines.append("WARNING: the machine is busy; ratios may hold, absolute figures are noise")
        return lines

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"busy": self.busy}


def this_machine() -> Machine:
    """The machine as it is now."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        caches=_caches(),
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        system=f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        precisions=native_precisions(),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        load=os.getloadavg()[0],
    )


def native_precisions() -> tuple[str, ...]:
    """Those in which this processor multiplies matrices without going through float32."""
    flags = set(_cpuinfo("flags", "Features").split())
    native = [("fp32", True), ("bf16", cpu_multiplies_bf16()), ("fp16", bool(flags & _FP16_FLAGS))]
    return tuple(name for name, there in native if there)


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(*keys: str) -> str:
    """The first value of one of the keys in Linux's description of the processor; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() in keys), "")


def _caches() -> str:
    """Of the first core; instruction caches left out."""
    described = []
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            described.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(described) or "caches unknown"
