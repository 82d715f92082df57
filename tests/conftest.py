"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, not wrong: pytest's own timeout catches what hangs.
settings.register_profile("project", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("project")
