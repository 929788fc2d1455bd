"""Migrations run while workers of the version before still write: none may take away what those use.

Those of before the rule are not looked at. What has to go takes two releases: docs/operating.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from django_migration_linter import MigrationLinter
from django_migration_linter.sql_analyser.analyser import analyse_sql_statements, get_sql_analyser_class

ROOT = Path(__file__).resolve().parents[2]
BEFORE = {"trials": 21, "specialists": 7}
UNSAFE = (
    "ALTER TABLE trials_trial DROP COLUMN score",
    "ALTER TABLE trials_trial RENAME COLUMN score TO result",
    "ALTER TABLE trials_trial ADD COLUMN extra integer NOT NULL",
    "ALTER TABLE trials_trial RENAME TO trials_attempt",
    "DROP TABLE trials_trial",
    "ALTER TABLE trials_trial ALTER COLUMN role TYPE varchar(10)",
    "CREATE INDEX slow ON trials_trial (score)",
)


def names(app: str, *, new: bool) -> list[str]:
    found = (path.stem for path in (ROOT / app / "migrations").glob("0*.py"))
    return sorted(name for name in found if (int(name[:4]) > BEFORE[app]) is new)


@pytest.mark.django_db
def test_new_migrations_may_run_on_a_live_site(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = [name for app in BEFORE for name in names(app, new=False)]
    linter = MigrationLinter(
        path=str(ROOT), include_apps=list(BEFORE), ignore_name=earlier, no_cache=True, all_warnings_as_errors=True,
        exclude_migration_tests=["RUNSQL_REVERSIBLE"],
    )  # fmt: skip
    linter.lint_all_migrations()
    assert not linter.has_errors, capsys.readouterr().out
    assert linter.nb_valid == sum(len(names(app, new=True)) for app in BEFORE) > 0, "it looked at every one"


@pytest.mark.parametrize("statement", UNSAFE)
def test_what_the_version_before_would_miss_is_found(statement: str) -> None:
    errors, _, warnings = analyse_sql_statements(get_sql_analyser_class("postgresql"), [statement])
    assert errors or warnings, statement
