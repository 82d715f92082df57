"""ALFA, WinCLIP, AnomalyDINO, PatchCore and trivial baselines on the same weights and images.

python benchmarks/quality.py --data DIR [--sets a,b] [--limit N] [--shots 0,1,4] [--seeds 5] [--out FILE.json]
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, Python looks for modules beside this file only; the benchmarks are not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.command import main

if __name__ == "__main__":
    main()
