"""What cannot work says so in one line: what, where, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearch_site import embedded
from autoresearch_site.embedded import EmbeddedError
from autoresearch_site.secrets_store import once, secret_key
from tests.site.census import belonging, data_folder
from tests.site.conftest import copy_cluster


def test_addresses_are_a_function_of_the_folder_only() -> None:
    folder = Path("/nowhere/a b%")
    found = embedded.endpoints(folder)
    assert found == embedded.endpoints(folder)
    assert found.database["HOST"] == "/nowhere/a b%/run"
    assert found.broker_url == "redis+socket:///nowhere/a%20b%25/run/valkey.sock"
    assert found.redis_url == "unix:///nowhere/a%20b%25/run/valkey.sock"


@pytest.mark.parametrize("length", [90, 150])
def test_too_long_a_path_names_the_limit(length: int) -> None:
    with pytest.raises(EmbeddedError) as caught:
        embedded.endpoints(Path("/" + "x" * (length - 1)))
    assert f"is {length} bytes long, expected at most 89" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_longest_allowed_path_works(cluster: Path) -> None:
    with data_folder() as parent:
        folder = parent / ("x" * (88 - len(str(parent))))
        folder.mkdir()
        copy_cluster(cluster, folder)
        embedded.ensure(folder)
        embedded.release(folder)
        assert not belonging(parent)


def test_a_name_with_blanks_and_percent_signs_works() -> None:
    with data_folder() as parent:
        folder = parent / "a b%20ü"
        embedded.ensure(folder)
        embedded.release(folder)
        assert (folder / "postgres" / "PG_VERSION").exists()


def test_a_comma_is_refused() -> None:
    with pytest.raises(EmbeddedError, match="contains a comma, quote, backslash or line break, expected"):
        embedded.endpoints(Path("/tmp/a,b"))


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(EmbeddedError, match=r"DATA_DIR /proc/var is not writable \(.*\), expected a folder"):
        embedded.ensure(Path("/proc/var"))
    with pytest.raises(EmbeddedError, match=r"DATA_DIR /proc/var is not writable \(.*\), expected a folder"):
        secret_key(Path("/proc/var"))


def test_a_file_in_place_of_the_folder() -> None:
    with data_folder() as parent:
        (parent / "var").write_text("")
        with pytest.raises(EmbeddedError, match="is not writable"):
            embedded.ensure(parent / "var")


def test_something_else_in_place_of_the_database() -> None:
    with data_folder() as folder:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "letter").write_text("mine")
        with pytest.raises(EmbeddedError, match="exists but holds no database, expected none or a PostgreSQL cluster"):
            embedded.ensure(folder)
        embedded.release(folder)
        assert (folder / "postgres" / "letter").read_text() == "mine"


def test_a_broken_database_is_reported_with_its_last_words(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError) as caught:
        embedded.ensure(data_dir)
    assert "the embedded database does not stay up" in str(caught.value)
    assert "version 12" in str(caught.value)


def test_secrets_are_made_once_and_private() -> None:
    with data_folder() as folder:
        first = secret_key(folder)
        assert len(first) >= 50
        assert secret_key(folder) == first
        assert (folder / "secret-key").stat().st_mode & 0o777 == 0o600
        (folder / "empty").write_text("\n")
        with pytest.raises(EmbeddedError, match="is empty, expected a secret"):
            once(folder / "empty", lambda: "new")
