"""Deterministic compute units: every torch operator is charged by its shapes, never by a clock.

Cost of one operator = its floating point operations by torch's own registry + 20 per output element + 200,000 for the
call. The weights follow the CPU seconds of small transformers; views move no data and pay the call alone. Work outside
torch costs nothing here: the parent watches the process's CPU time for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

PER_CALL = 200_000
PER_ELEMENT = 20


def elements(value: object) -> int:
    """Number of elements of all tensors in a nest of tuples and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, tuple | list):
        return sum(elements(item) for item in value)
    return 0


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object, **__: object) -> int:
    """(B, H, T, D), (B, H, S, D), (B, H, S, E): scores and mixture."""
    return 2 * query.numel() * key.size(2) + 2 * query.numel() // query.size(3) * key.size(2) * value.size(3)


def _attention_backward(
    _grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: object, **__: object
) -> int:
    """Scores once more, then the gradients of all three inputs and of the scores: two and a half times forwards."""
    return 5 * _attention(query, key, value) // 2


def _matrix_vector(*tensors: Any, **_: object) -> int:
    """Twice the largest input: every element is used once."""
    return 2 * max(t.numel() for t in tensors if isinstance(t, torch.Tensor))


def _summed_products(_added: torch.Tensor, first: torch.Tensor, second: torch.Tensor, **_: object) -> int:
    """(B, N, M) x (B, M, P), summed over B."""
    return 2 * first.numel() * second.size(2)


#: Kernels of the CPU that torch's registry does not know.
CPU_FLOPS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten._int_mm: lambda first, second, **_: 2 * first.numel() * second.size(1),
    torch.ops.aten.addbmm: _summed_products,
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.addmv: _matrix_vector,
    torch.ops.aten.dot: _matrix_vector,
    torch.ops.aten.vdot: _matrix_vector,
}


def kind_of(func: Any) -> tuple[bool, Any, bool]:
    """Is a view; how to count its operations, or None; is made of other operators.

    Without autograd (inference mode) composite operators arrive whole and must be taken apart to be counted.
    """
    flops = CPU_FLOPS.get(func.overloadpacket) or flop_registry.get(func.overloadpacket)
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return bool(func.is_view), flops, composite and flops is None


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves these three untyped
    """Charges operators while it is active.

    ``passed`` is called when spending reaches ``mark`` units and returns the next mark.
    """

    def __init__(self, mark: float, passed: Callable[[int], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.units = 0
        self._mark = mark
        self._passed = passed
        self._kinds: dict[Any, tuple[bool, Any, bool]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: the guard that torch would wrap around every operator costs a second of imports and time in each call."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = kind_of(func)
        is_view, flops, composite = kind
        if composite:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        cost = PER_CALL
        if not is_view:
            # Operators that update lists in place (fused and foreach optimisers) return nothing: their input counts.
            cost += PER_ELEMENT * (elements(out) if out is not None else elements(list(args)))
            if flops is not None:
                cost += int(flops(*args, **kwargs, out_val=out))
        self.units += cost
        if self.units >= self._mark:
            self._mark = self._passed(self.units)
        return out


class Uncounted:
    """Stands in for a meter where a phase has no budget of units: counting would cost CPU seconds that are judged."""

    units = 0

    def __enter__(self) -> None:
        """Nothing begins."""

    def __exit__(self, *_: object) -> None:
        """Nothing ends."""
