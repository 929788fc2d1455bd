"""Secrets that are made once per DATA_DIR and kept in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from autoresearch_site.embedded.layout import EmbeddedError, not_writable


def secret_key(data_dir: Path) -> str:
    """The key that signs sessions, made at the first call and kept in ``DATA_DIR/secret-key`` (mode 0600)."""
    return once(data_dir / "secret-key", lambda: secrets.token_urlsafe(50))


def signing_key_file(data_dir: Path) -> Path:
    """``DATA_DIR/signing-key`` (mode 0600), made at the first call: the Ed25519 seed (hex) that signs bundles."""
    path = data_dir / "signing-key"
    once(path, lambda: secrets.token_hex(32))
    return path


def once(path: Path, make: Callable[[], str]) -> str:
    """The text of the file ``path``; the first of all callers, who may come at once, makes it. Raises EmbeddedError."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise not_writable(path.parent, error) from None
        raise EmbeddedError(f"{path} cannot be read ({error.strerror}), expected a file that this user owns") from None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as stream:
            stream.write(make() + "\n")
            stream.flush()
            os.fsync(descriptor)
        try:
            os.link(fresh, path)  # appears whole, and never replaces what another made
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return _read(path)
    except OSError as error:
        raise not_writable(path.parent, error) from None


def _read(path: Path) -> str:
    text = path.read_text().strip()
    if not text:
        raise EmbeddedError(f"{path} is empty, expected a secret: remove the file to have a new one made")
    return text
