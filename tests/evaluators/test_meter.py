"""The meter: exact prices, the same on every run, nothing left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from evaluators.child.meter import PER_CALL, PER_ELEMENT, Meter


def units(work: Callable[[], object]) -> int:
    meter = Meter(float("inf"), lambda _units: float("inf"))
    with meter:
        work()
    return meter.units


def training(steps: int) -> int:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(32, 16), torch.nn.Linear(16, 32), torch.nn.GELU())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def work() -> None:
        for step in range(steps):
            tokens = torch.arange(step, step + 24) % 32
            loss = F.cross_entropy(model(tokens), tokens)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return units(work)


def test_a_product_of_matrices_has_its_exact_price() -> None:
    a, b = torch.ones(30, 20), torch.ones(20, 50)
    assert units(lambda: a @ b) == PER_CALL + PER_ELEMENT * 30 * 50 + 2 * 30 * 20 * 50


def test_views_pay_the_call_alone_and_copies_their_elements() -> None:
    x = torch.ones(40, 50)
    assert units(x.t) == PER_CALL
    assert units(x.clone) == PER_CALL + PER_ELEMENT * 2000


def test_list_operators_that_return_nothing_are_charged_by_their_input() -> None:
    tensors = [torch.ones(100), torch.ones(200)]
    assert units(lambda: torch._foreach_add_(tensors, 1.0)) == PER_CALL + PER_ELEMENT * 300


def test_inference_mode_costs_what_the_same_work_costs_without() -> None:
    layer, x = torch.nn.Linear(64, 128), torch.ones(8, 64)

    def inferred() -> None:
        with torch.inference_mode():
            layer(x)

    def plain() -> None:
        with torch.no_grad():
            layer(x)

    assert units(inferred) == units(plain) > 2 * 8 * 64 * 128


def test_attention_is_counted_forwards_and_backwards() -> None:
    query, key = torch.ones(2, 4, 32, 16, requires_grad=True), torch.ones(2, 4, 64, 16)

    def forward() -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, key)

    products = 2 * 2 * (2 * 4 * 32 * 64 * 16)
    assert units(forward) > products
    whole = units(lambda: forward().sum().backward())  # type: ignore[no-untyped-call]
    assert whole > products + products * 5 // 2
    longer = torch.ones(2, 4, 128, 16)
    grown = units(lambda: F.scaled_dot_product_attention(query, longer, longer)) - units(forward)
    assert grown == products


def test_products_of_other_names_are_counted_as_well() -> None:
    matrix, vector, batch = torch.ones(300, 400), torch.ones(400), torch.ones(3, 300, 400)
    assert units(lambda: matrix @ vector) >= 2 * 300 * 400
    assert units(lambda: vector @ vector) >= 2 * 400
    assert units(lambda: torch.addbmm(torch.ones(300, 300), batch, batch.mT)) >= 2 * 3 * 300 * 400 * 300
    assert units(lambda: torch.einsum("bij,bkj->bik", batch, batch)) >= 2 * 3 * 300 * 400 * 300


def test_training_costs_the_same_units_every_time_and_steps_add_up() -> None:
    assert training(3) == training(3)
    assert training(6) - training(5) == training(5) - training(4) > 0


def test_a_mark_is_told_once_and_sets_the_next() -> None:
    told: list[int] = []

    def passed(spent: int) -> float:
        told.append(spent)
        return 3.5 * PER_CALL

    x = torch.ones(1, 1)
    with Meter(1.5 * PER_CALL, passed):
        x.t(), x.t(), x.t(), x.t()
    assert told == [2 * PER_CALL, 4 * PER_CALL]


def test_what_a_mark_raises_ends_the_work() -> None:
    def refuse(_spent: int) -> float:
        raise RuntimeError("over")

    with pytest.raises(RuntimeError, match="over"), Meter(1, refuse):
        torch.ones(1).t()
