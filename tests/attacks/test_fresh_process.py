"""A process that has spelt held-out text must not predict it: in one that does both, what is remembered pays."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluators.contract import Measurement
from evaluators.harness import conversation, standby, wire
from evaluators.harness.conversation import Conversation
from evaluators.sandbox import Confined, spawn
from tests.attacks.attack import Attack, check
from tests.attacks.tiny import GOLF
from trials.vocab import VALID

CHILD = Path(conversation.__file__).resolve().parents[1] / "child"
REMEMBER = {
    "import": "SEEN = []",
    "encode": "SEEN.append(text)",
    "logits": """
if SEEN:
    text = np.frombuffer(b"".join(SEEN), np.uint8)
    at = getattr(self, "at", 0) % text.size
    self.at = at + tokens.size
    known = np.resize(text[at : at + tokens.size], tokens.shape).astype(int)
    np.put_along_axis(out, known[..., None], -2.0, 2)
""",
}
ONLY_SPELLS = "                spell(session, predictor, request[1])\n"
ALSO_PREDICTS = """                if request[0] is Kind.ENCODE:
                    spell(session, predictor, request[1])
                    continue
                shape = struct.unpack_from("<2I", request[1])
                chunk = np.frombuffer(request[1], dtype="<i4", offset=8).reshape(shape)
                session.send(Kind.LOGITS, pack_logits(predictor.logits(chunk.copy())))
"""


def test_without_a_fresh_process_remembered_text_is_predicted(
    honest: dict[str, Measurement], monkeypatch: pytest.MonkeyPatch, _own_folder: Path
) -> None:
    attack = Attack("remembered", "A9", REMEMBER)
    check(attack, honest["golf"], *attack.run(GOLF))
    child = _own_folder / "child"
    shutil.copytree(CHILD, child, ignore=shutil.ignore_patterns("__pycache__"))
    program = child / "language_model.py"
    assert program.read_text().count(ONLY_SPELLS) == 1, "the guard has moved: this test has to follow"
    program.write_text(program.read_text().replace(ONLY_SPELLS, ALSO_PREDICTS))
    started, process = ExitStack(), Conversation.process
    lines: list[wire.Wire] = []

    @contextmanager
    def kept(self: Conversation, *arguments: Any) -> Iterator[tuple[wire.Wire, Confined]]:
        found = started.enter_context(process(self, *arguments))
        lines.append(found[0])
        yield found

    @contextmanager
    def same(_self: Conversation, _phase: Any, **_: Any) -> Iterator[tuple[wire.Wire, bool]]:
        yield lines[0], False

    monkeypatch.setattr(standby, "spawn", functools.partial(spawn, child=child))
    monkeypatch.setattr(Conversation, "process", kept)
    monkeypatch.setattr(Conversation, "predictor", same)
    with started:
        _, outcome = attack.run(GOLF)
    assert outcome.label == VALID
    assert (outcome.score or 9.0) < (honest["golf"].score or 0.0) - 0.3
