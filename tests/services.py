"""Loaded before Django: a private DATA_DIR with real PostgreSQL and Valkey for the whole test run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from autoresearch_site import embedded

DATA_DIR = Path(tempfile.mkdtemp(prefix="ar-test-"))
os.environ["DATA_DIR"] = str(DATA_DIR)
for _name in ("DATABASE_URL", "BROKER_URL", "REDIS_URL", "SECRET_KEY"):
    os.environ.pop(_name, None)
embedded.ensure(DATA_DIR)
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
