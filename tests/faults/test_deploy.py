"""The files of ``deploy/``: what they start is what the site starts itself, and no host has more than it needs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.conf import settings

from autoresearch_site.embedded.layout import Layout
from autoresearch_site.stack_process import leaders

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def command(unit: Path) -> list[str]:
    [line] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart=").replace("%%", "%"))


def queues(words: list[str]) -> set[str]:
    return set(words[words.index("-Q") + 1].split(",")) if "-Q" in words else set()


def test_the_units_serve_the_queues_that_the_site_serves_itself() -> None:
    own = [queues(list(leader.command)) for leader in leaders(Layout(settings.DATA_DIR), None)]
    assert set().union(*own) == set().union(*(queues(command(unit)) for unit in UNITS))
    assert {unit.stem.removeprefix("autoresearch-") for unit in UNITS} == {
        "web", "beat", "agents", "models", "evaluators"
    }  # fmt: skip


def test_only_the_site_has_its_environment() -> None:
    environments = {
        unit.stem.removeprefix("autoresearch-"): line.rpartition("/")[2]
        for unit in UNITS
        for line in unit.read_text().splitlines()
        if line.startswith("EnvironmentFile=")
    }
    assert environments.pop("evaluators") == "evaluator.env"
    assert environments.pop("models") == "models.env"
    assert set(environments.values()) == {"site.env"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_every_unit_keeps_its_data_where_it_may_write(unit: Path) -> None:
    told = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
    assert told["Environment"] == f"DATA_DIR=/var/lib/{told['StateDirectory']}"
    assert told["StateDirectoryMode"] == "0700"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_every_option_is_known(unit: Path) -> None:
    python, dash, module, *rest = command(unit)
    assert (python, dash) == ("/opt/autoresearch/.venv/bin/python", "-m")
    known = subprocess.run(
        [sys.executable, "-m", module, *([*rest[:3]] if module == "celery" else []), "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    wanted = [word.partition("=")[0] for word in rest[3 if module == "celery" else 1 :] if word.startswith("-")]
    assert [option for option in wanted if option not in known] == []


def test_the_servers_keep_what_they_are_given_and_speak_tls() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    broker, database = services["broker"]["command"], services["database"]["command"]
    assert broker[broker.index("--maxmemory-policy") + 1] == "noeviction"
    assert broker[broker.index("--appendonly") + 1] == "yes"
    assert (broker[broker.index("--port") + 1], broker[broker.index("--tls-port") + 1]) == ("0", "6379")
    assert "ssl=on" in database


def test_the_slurm_job_is_a_shell_script_that_ends_in_the_worker() -> None:
    script = DEPLOY / "evaluators.slurm"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text().replace("\\\n", " ")
    words = shlex.split(text[text.index("exec ") :])
    assert words[1:4] == [".venv/bin/python", "-m", "celery"]
    assert "#SBATCH --signal=B:TERM@5400" in text
    assert "SECRET_KEY" not in text
