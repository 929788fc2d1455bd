"""What both ends of an operator's command (L4) agree on. It passes on standard input, output and error, and only those.

* stdin: frames, in pieces behind their length (u32); length 0: the frames have ended. Its own end is the lifeline's.
* stdout: the protocol, in the same way.
* stderr: whatever the command says, then MARK, then pieces behind one byte of kind (LOG, RECORD) and a length; a RECORD
  of length 0: the keeper has gone.

Used by both sides; standard library only.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

LENGTH, HEADER = struct.Struct("<I"), struct.Struct("<BI")
MARK = b"\0autoresearch carries\0"
LOG, RECORD = 0, 1
PIECE = 1 << 16
BOOT = "/proc/sys/kernel/random/boot_id"


def put(descriptor: int, data: bytes) -> None:
    """Blocking write of all of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def exactly(descriptor: int, count: int) -> bytes:
    """Blocking read. Raises EOFError at the end of the stream."""
    pieces = b""
    while len(pieces) < count:
        piece = os.read(descriptor, count - len(pieces))
        if not piece:
            raise EOFError
        pieces += piece
    return pieces


def kernel() -> dict[str, str]:
    """What tells one running kernel from another: release, version, and the id of its boot, empty where it has none."""
    about = os.uname()
    try:
        with open(BOOT, encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return {"release": about.release, "version": about.version, "boot": boot}


def same_kernel(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether both are one running kernel. Containers share the boot; a virtual machine may run the same version."""
    if one["boot"] and other["boot"]:
        return one["boot"] == other["boot"]
    return one["version"] == other["version"]
