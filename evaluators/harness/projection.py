"""What a recipe's artifact will weigh, told before any training: a few steps, packed by the recipe itself.

In the released run 38.5 % of machine time went to trials that a working size gate would have stopped. Weights after a
few steps compress a little worse than trained ones, so only what lies beyond that error is refused.
"""

from __future__ import annotations

from evaluators.child.frames import Kind
from evaluators.harness.conversation import Conversation
from evaluators.harness.verdicts import Verdict
from evaluators.harness.wire import TooLong, Wire
from trials.vocab import Label

LEAST_SECONDS = 15.0


def project(talk: Conversation) -> None:
    """Refuse a recipe whose artifact is projected beyond the cap and the projection's error.

    The recipe is trained in a process of its own with a budget of ``projection_units`` on ``projection_bytes`` of text.
    One that cannot be imported ends here. Whatever else happens is left to the training, which has more units, more CPU
    seconds and more time: a recipe may dislike so small a budget. Raises Verdict.
    """
    cap = talk.limits.artifact_bytes
    if cap is None:
        return
    try:
        payload = _packed_bytes(talk)
    except Verdict as verdict:
        if verdict.status == Label.PREFLIGHT_CRASH:
            raise
        return
    projected = talk.record.code_bytes + payload
    talk.record.numbers["projected_bytes"] = projected
    if projected > cap * (1 + talk.number("projection_error")):
        over = projected - cap
        reason = f"{over:,} bytes over, projected after a few steps: nothing was trained"
        raise Verdict(Label.SIZE_BLOCKED, reason, {"bytes_over": over, "projected_bytes": projected})


def _packed_bytes(talk: Conversation) -> int:
    """Length of the artifact after a few steps. Raises Verdict."""
    allowed = talk.limits.train_seconds
    seconds = min(allowed, talk.setting("projection_seconds", max(LEAST_SECONDS, allowed / 4)))
    with talk.process("project", int(talk.setting("projection_units", 0)), seconds) as (wire, _):
        talk.hand_out(wire, int(talk.setting("projection_bytes", 0)))
        return _announced(talk, wire)


def _announced(talk: Conversation, wire: Wire) -> int:
    try:
        return len(talk.answer(wire, Kind.TRAINED, int(talk.number("largest_artifact"))))
    except TooLong as error:
        return error.announced
