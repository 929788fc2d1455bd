"""The embedded servers with real processes: on demand, shared, stopped with the last user, recovered after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import redis

from autoresearch_site import embedded
from autoresearch_site.embedded.layout import Layout
from tests.site.census import ROOT, belonging, data_folder, until

USER = """
import sys, time
from pathlib import Path
from autoresearch_site import embedded
embedded.ensure(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""


def connect(folder: Path) -> psycopg.Connection[tuple[object, ...]]:
    found = embedded.endpoints(folder).database
    options = found["OPTIONS"]
    assert isinstance(options, dict)
    return psycopg.connect(
        dbname=str(found["NAME"]), user=str(found["USER"]), host=str(found["HOST"]), port=str(found["PORT"]), **options
    )


def broker(folder: Path) -> redis.Redis:
    return redis.Redis.from_url(embedded.endpoints(folder).redis_url)


def supervisor(folder: Path) -> int:
    return int(str(Layout(folder).read_state()["pid"]))


def user(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", USER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def is_up(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "up\n"


def end(process: subprocess.Popen[str], signum: int = signal.SIGKILL) -> None:
    process.send_signal(signum)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_both_servers_answer_and_stop_with_their_last_user(data_dir: Path) -> None:
    found = embedded.ensure(data_dir)
    with connect(data_dir) as connection:
        row = connection.execute("SELECT current_setting('TimeZone'), current_setting('listen_addresses')").fetchone()
    assert row == ("UTC", "")
    with broker(data_dir) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy", "appendonly", "port") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "port": "0",
        }
    first = supervisor(data_dir)
    assert embedded.ensure(data_dir) == found
    assert supervisor(data_dir) == first
    assert {path.stat().st_mode & 0o777 for path in (data_dir / "run", data_dir / "postgres")} == {0o700}
    assert (data_dir / "pgpass").stat().st_mode & 0o777 == 0o600
    embedded.release(data_dir)
    assert not belonging(data_dir)


def test_users_that_start_at_once_share_one_supervisor(data_dir: Path) -> None:
    users = [user(data_dir) for _ in range(4)]
    assert all(is_up(process) for process in users)
    assert sum("embedded.supervisor" in command for command in belonging(data_dir).values()) == 1
    for process in users[:3]:
        end(process)
    with broker(data_dir) as client:
        assert client.ping()
    end(users[3])
    assert until(lambda: not belonging(data_dir), 15)


def test_only_what_is_needed_is_started_and_the_rest_on_request(data_dir: Path) -> None:
    embedded.ensure(data_dir, need_database=False)
    assert not any("postgres" in Path(command.split()[0]).name for command in belonging(data_dir).values())
    embedded.ensure(data_dir, need_broker=False)
    connect(data_dir).close()
    assert Layout(data_dir).read_state()["broker"] == "ready"


def test_a_program_started_by_a_user_is_no_user(data_dir: Path) -> None:
    embedded.ensure(data_dir)
    with subprocess.Popen(["sleep", "60"]) as child:
        embedded.release(data_dir)
        left = belonging(data_dir)
        child.kill()
    assert not left


def test_killed_supervisor_leaves_nothing_and_the_data_survives(data_dir: Path) -> None:
    embedded.ensure(data_dir)
    with connect(data_dir) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    with broker(data_dir) as client:
        client.rpush("queue", *range(100))
        assert until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, 5)
    os.kill(supervisor(data_dir), signal.SIGKILL)
    assert until(lambda: not belonging(data_dir), 15)
    embedded.ensure(data_dir)
    with connect(data_dir) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    with broker(data_dir) as client:
        assert client.llen("queue") == 100


def test_power_loss_with_a_recycled_process_id(data_dir: Path) -> None:
    embedded.ensure(data_dir)
    with connect(data_dir) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    for pid in sorted(belonging(data_dir)):
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: not belonging(data_dir), 15)
    stale = data_dir / "postgres" / "postmaster.pid"
    lines = stale.read_text().split("\n")
    stale.write_text("\n".join([str(os.getppid()), *lines[1:]]))  # a process that lives and is nobody's database
    assert (data_dir / "run" / "valkey.sock").exists()
    embedded.ensure(data_dir)
    with connect(data_dir) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_server_that_dies_is_started_again(data_dir: Path) -> None:
    embedded.ensure(data_dir)
    first = supervisor(data_dir)
    postmaster = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n")[0])
    os.kill(postmaster, signal.SIGKILL)

    def answers() -> bool:
        try:
            connect(data_dir).close()
        except psycopg.OperationalError:
            return False
        return True

    assert until(lambda: not Path(f"/proc/{postmaster}/exe").exists() and answers(), 20)
    assert supervisor(data_dir) == first


def test_storm_of_kills(data_dir: Path) -> None:
    """Users and supervisors killed at any moment: the last one still gets working servers, and leaves nothing."""
    for pause in (0.05, 0.15, 0.25, 0.35, 0.6):
        process = user(data_dir)
        until(lambda: False, pause)
        pid = Layout(data_dir).read_state().get("pid")
        if isinstance(pid, int) and str(data_dir) in belonging(data_dir).get(pid, ""):
            os.kill(pid, signal.SIGKILL)
        end(process)
    last = user(data_dir)
    assert is_up(last)
    connect(data_dir).close()
    end(last)
    assert until(lambda: not belonging(data_dir), 20)


def test_removing_the_folder_stops_the_servers() -> None:
    with data_folder() as parent:
        process = user(parent / "var")
        assert is_up(process)
        (parent / "var").rename(parent / "gone")
        assert until(lambda: set(belonging(parent)) == {process.pid}, 30)
        end(process)


def test_supervisor_stops_cleanly_on_sigterm(data_dir: Path) -> None:
    embedded.ensure(data_dir)
    os.kill(supervisor(data_dir), signal.SIGTERM)
    assert until(lambda: not belonging(data_dir), 15)
    assert "database system is shut down" in (data_dir / "log" / "postgres.log").read_text()
    assert Layout(data_dir).read_state() == {}
