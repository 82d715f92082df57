"""The wire format: pure encode and decode of every message that crosses a socket, one module a message.

    frame/{line}/      | FrameHeader   | pixels                      camera -> detector        `frame`
    frame/{line}/      | FrameHeader   | empty                       a part without image      `frame`
    frame/{line}/      | FrameHeader   | empty    | SlotRef          pixels in shared memory   `shared_memory`
    lease/{line}/      | Lease                                       detector -> camera        `shared_memory`
    verdict/{line}/    | Verdict                                     detector -> results       `verdict`
    map/{line}/        | MapHeader     | float16  | JPEG or empty    detector -> results       `anomaly_map`
    beat/{svc}/{line}/ | Beat                                        every service             `beat`
    replay/{line}/     | ReplayRequest                               results -> detector       `replay`
    replay/{line}/     | Verdict       | ...                         detector -> results       `replay`

Each box is one part of a ZeroMQ multipart message; a header is a msgpack map (`codec`) of bounded fields
(`fields`) and carries `v`. Topics end with "/" so that a subscription to `line1` never matches `line10`. What
is refused is an `errors.DecodeError`; why a part has no judgement is a `faults.FaultReason`. Nothing here
touches a socket, a clock or a log. docs/wire.md says the same for subscribers in another language.
"""

from edge.messages.anomaly_map import (
    MAX_JPEG_BYTES,
    AnomalyMap,
    MapHeader,
    decode_map,
    encode_map,
    map_topic,
)
from edge.messages.beat import (
    MOST_EARLIER_STARTS,
    Beat,
    EarlierStart,
    ServiceState,
    beat_topic,
    decode_beat,
    encode_beat,
)
from edge.messages.codec import (
    MAX_HEADER_BYTES,
    VERSION,
    Part,
)
from edge.messages.errors import (
    DecodeError,
    MalformedHeader,
    NoImage,
    SlotLost,
    TooLarge,
    UnknownVersion,
    WrongLength,
    WrongParts,
    WrongTopic,
)
from edge.messages.faults import (
    FaultCode,
    FaultReason,
    fault_code,
)
from edge.messages.fields import (
    LONGEST_PART_ID,
    LONGEST_TEXT,
    MAX_SIDE,
    MOST_LOST_AT_ONCE,
    NAME_PATTERN,
)
from edge.messages.frame import (
    MAX_PIXELS,
    Frame,
    FrameHeader,
    decode_frame,
    decode_frame_header,
    encode_frame,
    encode_unreadable,
    frame_of,
    frame_topic,
)
from edge.messages.replay import (
    ReplayRequest,
    decode_replay,
    decode_replay_request,
    encode_replay,
    encode_replay_request,
    replay_topic,
)
from edge.messages.shared_memory import (
    MAX_SLOTS,
    Lease,
    SlotRef,
    decode_lease,
    encode_lease,
    encode_shared_frame,
    lease_topic,
    slot_of,
)
from edge.messages.verdict import (
    Reason,
    Region,
    Result,
    Timings,
    Verdict,
    decode_verdict,
    encode_verdict,
    missing_verdict,
    verdict_topic,
)

__all__ = [
    "LONGEST_PART_ID",
    "LONGEST_TEXT",
    "MAX_HEADER_BYTES",
    "MAX_JPEG_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_SLOTS",
    "MOST_EARLIER_STARTS",
    "MOST_LOST_AT_ONCE",
    "NAME_PATTERN",
    "VERSION",
    "AnomalyMap",
    "Beat",
    "DecodeError",
    "EarlierStart",
    "FaultCode",
    "FaultReason",
    "Frame",
    "FrameHeader",
    "Lease",
    "MalformedHeader",
    "MapHeader",
    "NoImage",
    "Part",
    "Reason",
    "Region",
    "ReplayRequest",
    "Result",
    "ServiceState",
    "SlotLost",
    "SlotRef",
    "Timings",
    "TooLarge",
    "UnknownVersion",
    "Verdict",
    "WrongLength",
    "WrongParts",
    "WrongTopic",
    "beat_topic",
    "decode_beat",
    "decode_frame",
    "decode_frame_header",
    "decode_lease",
    "decode_map",
    "decode_replay",
    "decode_replay_request",
    "decode_verdict",
    "encode_beat",
    "encode_frame",
    "encode_lease",
    "encode_map",
    "encode_replay",
    "encode_replay_request",
    "encode_shared_frame",
    "encode_unreadable",
    "encode_verdict",
    "fault_code",
    "frame_of",
    "frame_topic",
    "lease_topic",
    "map_topic",
    "missing_verdict",
    "replay_topic",
    "slot_of",
    "verdict_topic",
]
