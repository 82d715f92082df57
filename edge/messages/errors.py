"""Why a message is not taken: one class a way, each counted under its `reason`."""

from __future__ import annotations


class DecodeError(Exception):
    """A message that cannot be taken; each way is a class of its own, counted under `reason`."""

    reason = "undecodable"


class UnknownVersion(DecodeError):
    """The header carries another version of this protocol."""

    reason = "unknown_version"


class WrongParts(DecodeError):
    """Another number of parts than this message has."""

    reason = "wrong_parts"


class WrongTopic(DecodeError):
    """The topic is not this message's, or names another line than the header."""

    reason = "wrong_topic"


class MalformedHeader(DecodeError):
    """Not msgpack, not a map, a field missing, of another type or out of bounds."""

    reason = "malformed_header"


class WrongLength(DecodeError):
    """A payload whose length is not what the header says."""

    reason = "wrong_length"


class TooLarge(DecodeError):
    """A header or payload above the limits; refused before anything is allocated."""

    reason = "too_large"


class NoImage(DecodeError):
    """A part of which the camera has no image; the header says why."""

    reason = "no_image"


class SlotLost(DecodeError):
    """Pixels in shared memory that are gone, overwritten, or lent to another reader."""

    reason = "slot_lost"
