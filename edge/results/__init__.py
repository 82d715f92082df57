"""The end of a frame's way: verdicts are recorded, alarms kept until acknowledged, and the PLC is told."""
