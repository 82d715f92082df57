"""`tools` is run from a checkout and not installed, so its tests put the checkout on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
