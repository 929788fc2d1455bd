"""The walls of the house: sizes, layers, one writer, migrations."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]
APPS = ("trials", "evaluators", "specialists", "autoresearch_site")
SOURCES = sorted(
    path for app in APPS for path in (ROOT / app).rglob("*.py") if not {"migrations", "recipe"} & set(path.parts)
)
WRITING = {"save", "create", "bulk_create", "get_or_create", "update_or_create", "bulk_update"}
# Rows that are not the record: agent sessions, studies, users and their log-ins have their own writers.
WRITERS = {
    "specialists/services.py", "specialists/accounts.py", "specialists/sessions.py", "autoresearch_site/bootstrap.py",
    "autoresearch_site/screenshots.py", "specialists/quotas.py",
}  # fmt: skip
WRITERS |= {f"specialists/studies/{name}.py" for name in ("services", "reports")}


def is_row_change(function: ast.Attribute) -> bool:
    """``update`` and ``delete`` of a queryset, not of a dictionary."""
    return function.attr in {"update", "delete"} and "objects" in ast.unparse(function)


def names(imported: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in imported.names}


def test_files_stay_under_400_lines_and_functions_under_60() -> None:
    long_files = [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 400]
    long_functions = [
        f"{path}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert (long_files, long_functions) == ([], [])


def test_imports_go_one_way() -> None:
    found = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_only_the_services_write_the_record() -> None:
    writers = [
        f"{name}:{node.lineno}"
        for path in SOURCES
        if not (name := path.relative_to(ROOT).as_posix()).startswith("trials/services/") and name not in WRITERS
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and (node.func.attr in WRITING or is_row_change(node.func))
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "trials.statements" and names(node) & {"change"})
    ]
    assert writers == []


def test_neither_the_site_nor_a_worker_imports_torch() -> None:
    code = (
        "import django, sys; django.setup(); import autoresearch_site.asgi, specialists.tasks, evaluators.tasks; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "torch was imported"


def test_model_clients_are_loaded_by_those_who_hold_sessions_only() -> None:
    code = (
        "import django, sys; django.setup(); import autoresearch_site.asgi, autoresearch_site.urls, specialists.tasks, "
        "evaluators.tasks; heavy = {'pydantic_ai', 'anthropic', 'openai', 'genai_prices'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_migrations_import_nothing_from_the_application() -> None:
    imports = [
        f"{path}: {line}"
        for app in APPS
        for path in (ROOT / app / "migrations").glob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "from ")) and line.split()[1].split(".")[0] in APPS
    ]
    assert imports == []
