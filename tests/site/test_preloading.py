"""Pool processes inherit the clients of models from a worker that is configured for one, no other worker loads them,
and what is loaded stays shared."""

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


SHARING = """
import gc, os
from types import SimpleNamespace
from autoresearch_site import celery
celery.app.loader.init_worker()
queues = SimpleNamespace(consume_from=["default"])
celery._queues_are_known(SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues))))

def written():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))

if (child := os.fork()) == 0:
    before = written()
    gc.collect()
    print(written() - before, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_search_for_unreachable_objects_leaves_what_the_pool_shares_shared() -> None:
    done = subprocess.run([sys.executable, "-c", SHARING], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10_000, "kB: each look would write on every page that the worker has loaded, over 30 MB"
