#!/usr/bin/env python3
"""The site's command line; see ``manage.py help``. This file must parse on old Pythons, to say which one is needed."""

import os
import sys

ADVICE = "run make setup and use .venv/bin/python"

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it with an older one gets this line
    sys.exit(f"error: this needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: {ADVICE}")

try:
    import django  # noqa: F401
except ModuleNotFoundError:
    sys.exit(f"error: Django is not installed for {sys.executable}: {ADVICE}")

from autoresearch_site.commandline import main  # noqa: E402 - after the checks

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_site.settings")
    sys.exit(main(sys.argv))
