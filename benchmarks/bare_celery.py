"""A bare Celery application, as a fresh project has it: round trips of a task that does nothing, one after the other.

``celery -A benchmarks.bare_celery worker``, and ``python -m benchmarks.bare_celery COUNT``: wall-clock and CPU seconds
of the sender on stdout. Answers come back by the broker that brought the message: Redis' own backend, ``rpc`` with
RabbitMQ.
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery

BROKER = os.environ.get("BROKER_URL", "")
app = Celery("bare", broker=BROKER, backend=BROKER if BROKER.startswith("redis") else "rpc://")
app.conf.update(task_default_queue="bare", broker_connection_retry_on_startup=True)
ANSWERS_WITHIN = 60.0


@app.task(name="bare.nothing")
def nothing() -> None:
    """Nothing."""


def round_trips(count: int) -> tuple[float, float]:
    """Wall-clock and CPU seconds for so many: the answer is here before the next one is sent."""
    began, cpu = time.monotonic(), time.process_time()
    for _ in range(count):
        nothing.delay().get(timeout=ANSWERS_WITHIN)
    return time.monotonic() - began, time.process_time() - cpu


if __name__ == "__main__":
    round_trips(5)  # the worker is up
    wall, used = round_trips(int(sys.argv[1]))
    sys.stdout.write(f"{wall} {used}\n")
