"""Each reason why a part was not judged has its own number at the PLC."""

from __future__ import annotations

import pytest

from edge.messages import FaultCode, FaultReason, fault_code


@pytest.mark.parametrize("reason", list(FaultReason))
def test_every_reason_has_a_code_of_its_own(reason: FaultReason) -> None:
    """The PLC can tell all reasons apart; part faults stay below 100."""
    assert fault_code(reason) < FaultCode.CAMERA_LOST
    assert [other for other in FaultReason if fault_code(other) == fault_code(reason)] == [reason]
