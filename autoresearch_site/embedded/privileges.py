"""PostgreSQL refuses to run as uid 0: how root runs it all the same, without changing who may read what."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from autoresearch_site.embedded.layout import EmbeddedError, Layout


@dataclass(frozen=True)
class Account:
    """The account that PostgreSQL's programs run under: a command prefix, and the user that owns their files."""

    prefix: tuple[str, ...]
    owner: int

    def give(self, folder: Path) -> None:
        if folder.stat().st_uid != self.owner:
            os.chown(folder, self.owner, -1)


def unprivileged(program: Path, layout: Layout) -> Account:
    """Find, by doing, an account under which ``program`` runs and reaches DATA_DIR.

    An ordinary user is one already. Root enters a user namespace in which it is uid 1000 (files stay root's, no mode
    changes); where namespaces are closed, the account ``nobody`` is used and gets the folders that PostgreSQL writes.
    Raises EmbeddedError when neither works.
    """
    if os.geteuid() != 0:
        return Account((), os.geteuid())
    namespace = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
    if _works([*namespace, str(program), "--version"]):
        return Account(namespace, 0)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(_no_way(layout)) from None
    identity = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    layout.data_dir.chmod(0o711)  # may be passed through, not listed; all that is in it keeps its own mode
    os.chown(layout.run, nobody.pw_uid, -1)
    if not _works([*identity, str(program), "--version"]) or not _works([*identity, "test", "-w", str(layout.run)]):
        raise EmbeddedError(_no_way(layout))
    return Account((*identity, "--pdeathsig", "INT"), nobody.pw_uid)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _no_way(layout: Layout) -> str:
    return (
        "PostgreSQL does not run as root; user namespaces are closed here and the account nobody cannot reach "
        f"{layout.data_dir} or this installation: run as an ordinary user, or set DATABASE_URL"
    )
