"""Large frames through shared memory: the camera writes a slot, the detector reads it where it lies.

A slot is a file of its own in a tmpfs, mapped by both sides; only a `SlotRef` crosses the socket. The rules
that make a wrong picture impossible:

- A slot is written only while nobody may read it. The reader tells by `Lease` up to which stamp it has seen
  frames and which of those it still holds; all others are free. It is told as a whole state, so a lost lease
  costs a slot for a moment and never a picture.
- Slots are lent to one holder. When the holder goes, or another one comes, the ring starts anew with new
  files: whoever still reads an old slot keeps the memory, which is never written again.
- A slot carries its frame's stamp, 0 while it is written. Another stamp than the message's is `SlotLost`, and
  so is a slot that was lent to another holder: the part is a FAULT. The stamp is asked for again once the
  pixels have been read, so that not even a lease that is wrong lets another part's pixels be judged.
- A holder that lives answers every large frame with a lease. One that is dead or stopped while somebody else
  listens does not: after `DEAF_AFTER_S` its ring is given up, and begins anew when it speaks.
- Without a holder or a free slot the pixels go through the socket, as they do without a ring. A reader that
  cannot map a ring's files frees none of its slots, so that this comes soon.
- All slots of a ring have one size. For larger images the ring starts anew, once no slot is lent.

Ordering between the two processes comes from the socket: the pixels are written before the message is sent,
and the lease is sent after the last reader is gone.

    slot     the file: where it lies, its bytes, its stamp
    writer   the camera's side
    reader   the detector's side
"""

from edge.ring.reader import RingReader, SharedPixels
from edge.ring.slot import SMALLEST_SHARED_BYTES, ring_stem
from edge.ring.writer import DEAF_AFTER_S, FrameRing

__all__ = ["DEAF_AFTER_S", "SMALLEST_SHARED_BYTES", "FrameRing", "RingReader", "SharedPixels", "ring_stem"]
