"""Pool processes inherit the clients of models from a worker that is configured for one; no other worker loads them."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
from types import SimpleNamespace
from autoresearch_site import celery
celery.app.loader.init_worker()
queues = SimpleNamespace(consume_from=sys.argv[1].split(","))
celery._queues_are_known(SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues))))
print("specialists.proposers.llm.proposer" in sys.modules, celery._device_kinds)
"""


def loads(queues: str, provider: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, queues],
        env=environment | ({"LLM_PROVIDER": provider} if provider else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_a_worker_that_will_speak_with_a_model_loads_its_clients() -> None:
    assert loads("agents.models", "compatible") == "True []"
    assert loads("agents.models", "") == "False []"
    assert loads("evaluators.cpu,default", "compatible") == "False ['cpu']"
