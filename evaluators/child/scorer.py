"""The evaluator's own arithmetic on a device: log-probabilities of tokens, from logits in shared memory.

A process of the evaluator beside the worker, which may not import torch. It never sees a recipe, only numbers; it ends
when the worker closes its pipe. Argument: JSON with memory (descriptor), device, threads, search (for sys.path).
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys

REQUEST = struct.Struct("<5I")  # rows, length, vocabulary, bytes of tokens that follow, 1 where margins are wanted
FINE, NOT_FINITE = 0, 1


def read_exactly(descriptor: int, count: int) -> bytes:
    """Blocking read; nothing when the worker has closed its end."""
    pieces = b""
    while len(pieces) < count:
        piece = os.read(descriptor, count - len(pieces))
        if not piece:
            return b""
        pieces += piece
    return pieces


def main() -> None:
    """Answer each request with FINE and float64 (rows, length), or NOT_FINITE, row and position (two u32).

    Margins follow in another float64 (rows, length): how far each token's logit is above the largest of the others.
    """
    told = json.loads(sys.argv[1])
    sys.path[:0] = told["search"]
    import torch  # noqa: PLC0415 - found only through the search path that was just told

    torch.set_num_threads(int(told["threads"]))
    device, memory, size = torch.device(told["device"]), int(told["memory"]), 0
    os.write(1, b"\x00")
    while head := read_exactly(0, REQUEST.size):
        rows, length, vocabulary, token_bytes, with_margins = REQUEST.unpack(head)
        tokens = torch.frombuffer(bytearray(read_exactly(0, token_bytes)), dtype=torch.int32).view(rows, length)
        if os.fstat(memory).st_size != size:
            size = os.fstat(memory).st_size
            shared = mmap.mmap(memory, size)
        logits = torch.frombuffer(shared, dtype=torch.float32, count=rows * length * vocabulary)
        picked = torch.empty(1 + with_margins, rows, length, dtype=torch.float64)
        wrong = b""
        for row, values in enumerate(logits.view(rows, length, vocabulary)):
            wide = values.to(device)
            finite = torch.isfinite(wide).all(dim=-1)
            if not bool(finite.all()):
                wrong = struct.pack("<2I", row, int((~finite).nonzero()[0]))
                break
            wanted = tokens[row].to(device).long()[:, None]
            wide = wide.double()
            own = wide.gather(1, wanted)[:, 0]
            picked[0, row] = (own - wide.logsumexp(dim=-1)).cpu()
            if with_margins:
                picked[1, row] = (own - wide.scatter(1, wanted, -torch.inf).amax(dim=-1)).cpu()
        answer = bytes([NOT_FINITE]) + wrong if wrong else bytes([FINE]) + picked.numpy().tobytes()
        at = 0
        while at < len(answer):
            at += os.write(1, answer[at:])


main()
