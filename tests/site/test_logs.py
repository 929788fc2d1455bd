"""Log lines for people and for programs: what they are about, without secrets, from every kind of process."""

from __future__ import annotations

import json
import logging
import logging.config
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from autoresearch_site import settings as read
from autoresearch_site.stack import bind
from evaluators.services import evaluate
from specialists.models import Session
from specialists.services import run_session
from tests.conftest import START_SECONDS, running
from tests.factories import make_campaign, order_of, run_trial, submit
from trials import logcontext

SECRET = 'a "secret" of this process'


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], StringIO]]:
    """Set logging up as a process with this LOG_FORMAT does, into a text."""
    monkeypatch.setenv("TEST_API_KEY", SECRET)
    root, before = logging.getLogger(), list(logging.getLogger().handlers)

    def into(format_name: str) -> StringIO:
        stream = StringIO()
        handler = settings.LOGGING["handlers"]["stderr"] | {"formatter": format_name, "stream": stream}
        logging.config.dictConfig(settings.LOGGING | {"handlers": {"stderr": handler}})
        return stream

    yield into
    root.handlers[:] = before


def test_a_json_line_has_ids_and_traceback_and_no_secret(lines: Callable[[str], StringIO]) -> None:
    stream = lines("json")
    with logcontext.about(campaign="toy", trial=3):
        try:
            raise ValueError(f"line\nbreak and {SECRET}")
        except ValueError:
            logging.getLogger("trials.test").exception("failed with %s", SECRET, extra={"data": "is not for the log"})
    logging.getLogger("trials.test").info("about nothing")
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["message"] == "failed with [key removed]" and "of this process" not in json.dumps(first)
    assert (first["campaign"], first["trial"], first["level"], first["logger"]) == ("toy", 3, "ERROR", "trials.test")
    assert "ValueError: line\nbreak and [key removed]" in first["exc_info"]
    assert set(first) == {"timestamp", "level", "logger", "message", "process", "exc_info", "campaign", "trial"}
    assert first["timestamp"].endswith("+00:00")
    assert set(second) == {"timestamp", "level", "logger", "message", "process"}


def test_a_line_for_people_says_what_it_is_about(lines: Callable[[str], StringIO]) -> None:
    stream = lines("line")
    with logcontext.about(campaign="toy"), logcontext.about(trial=3):
        logging.getLogger("trials.test").warning("watch out: %s", SECRET)
    assert stream.getvalue().endswith(" WARNING trials.test watch out: [key removed] [campaign=toy trial=3]\n")


@pytest.mark.django_db
def test_work_binds_its_ids(lines: Callable[[str], StringIO]) -> None:
    stream = lines("json")
    campaign = make_campaign(minimum_level="L9")
    order = order_of(submit(campaign, parent=None))
    evaluate(order.pk)
    Session.objects.create(
        campaign=campaign, number=4, role="architecture", seed=0, started_at=order.queued_at,
        lease_expires_at=order.queued_at,
    )  # fmt: skip
    campaign.proposer = "gone"
    campaign.save(update_fields=["proposer"])
    run_session(Session.objects.get().pk)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    unfit = next(line for line in found if "waits: " in line["message"])
    assert (unfit["campaign"], unfit["trial"], unfit["evaluation"]) == (campaign.slug, 0, order.pk)
    failed = next(line for line in found if line["message"].startswith("session 4"))
    assert (failed["campaign"], failed["session"]) == (campaign.slug, 4) and "exc_info" in failed
    assert logcontext.bound() == {}


def test_a_thread_that_helps_is_about_the_same() -> None:
    seen: list[Any] = []
    with logcontext.about(trial=7):
        helper = logcontext.thread(lambda: seen.append(logcontext.bound()), "helper")
    helper.start()
    helper.join()
    assert seen == [{"trial": 7}]


def test_every_line_of_a_worker_and_of_the_web_process_is_json(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    run_trial(campaign, 2.4, parent=None)
    monkeypatch.setenv("LOG_FORMAT", "json")
    current_app.control.purge()
    listener = bind(0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    handed = listener.fileno()
    worker = ("celery", "--quiet", "-A", "autoresearch_site", "worker", "-l", "INFO", "-c", "1", "-Q", "default")
    sent = current_app.send_task("specialists.study_report", args=[987654])  # there is none: a traceback
    with (
        running(*worker, "-n", "json@test", log=tmp_path / "worker.log"),
        running("autoresearch_site.web", str(handed), log=tmp_path / "web.log", pass_fds=(handed,)),
    ):
        deadline = time.monotonic() + 2 * START_SECONDS
        while "DoesNotExist" not in (tmp_path / "worker.log").read_text():
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.2)
        with urllib.request.urlopen(f"{address}/healthz", timeout=START_SECONDS):
            pass
        text = {name: (tmp_path / name).read_text() for name in ("worker.log", "web.log")}
    listener.close()
    found = {name: [json.loads(line) for line in told.splitlines()] for name, told in text.items()}
    for name, said in found.items():
        assert said and all({"timestamp", "level", "message"} <= set(line) for line in said), name
    tracebacks = [line for line in found["worker.log"] if "exc_info" in line]
    assert any(line.get("task") == sent.id for line in tracebacks)


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "xml")
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT is 'xml', expected one of line, json"):
        read.choice("LOG_FORMAT", "line", ("line", "json"))
    monkeypatch.setenv("LOG_LEVEL", "warning")
    assert read.choice("LOG_LEVEL", "INFO", ("INFO", "WARNING")) == "WARNING"
