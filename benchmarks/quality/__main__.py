"""ALFA, WinCLIP, AnomalyDINO, PatchCore and trivial baselines on the same weights and images.

python -m benchmarks.quality --data DIR [--sets a,b] [--limit N] [--shots 0,1,4] [--seeds 5] [--out FILE.json]
"""

from benchmarks.quality.command import main

if __name__ == "__main__":
    main()
