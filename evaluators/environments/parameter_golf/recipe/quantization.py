"""Weights to bytes and back: integer rows with a scale each, then a general compressor."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

BITS: int = 8


def bits_of(name: str) -> int:
    """Width of the integers that hold the named matrix."""
    return BITS


def row_scales(matrix: Tensor, bits: int) -> Tensor:
    """One scale per row (N, 1): the largest magnitude maps to the largest integer."""
    top = 2 ** (bits - 1) - 1
    return (matrix.abs().amax(dim=1, keepdim=True) / top).clamp_min(1e-8).half().float().clamp_min(1e-7)


def quantise(matrix: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Matrix (N, M) -> int8 (N, M) and scales (N, 1)."""
    top = 2 ** (bits - 1) - 1
    scales = row_scales(matrix, bits)
    return (matrix / scales).round().clamp(-top, top).to(torch.int8), scales


def compress(raw: bytes) -> bytes:
    """General-purpose compression of the packed integers."""
    return zlib.compress(raw, 9)


def decompress(payload: bytes) -> bytes:
    """Inverse of compress."""
    return zlib.decompress(payload)


def pack(state: Mapping[str, Tensor]) -> bytes:
    """State dictionary -> bytes: matrices as integer rows, everything else as float16, in the order of the state."""
    parts: list[bytes] = []
    for name, tensor in state.items():
        if tensor.ndim == 2:
            integers, scales = quantise(tensor.detach().float(), bits_of(name))
            parts += [integers.numpy().tobytes(), scales.half().numpy().tobytes()]
        else:
            parts.append(tensor.detach().half().numpy().tobytes())
    return compress(b"".join(parts))


def unpack(payload: bytes, template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bytes -> state dictionary with the names, order and shapes of the template."""
    raw = decompress(payload)
    at = 0

    def take(kind: str, count: int) -> Tensor:
        nonlocal at
        values = np.frombuffer(raw, dtype=kind, count=count, offset=at)
        at += values.nbytes
        return torch.from_numpy(values.astype(np.float32))

    state: dict[str, Tensor] = {}
    for name, tensor in template.items():
        if tensor.ndim == 2:
            integers = take("i1", tensor.numel()).view(tensor.shape)
            state[name] = integers * take("<f2", tensor.shape[0]).view(-1, 1)
        else:
            state[name] = take("<f2", tensor.numel()).view(tensor.shape)
    return state
