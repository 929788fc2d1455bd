"""The site's Ed25519 key (RFC 8032): signs heads of chains and manifests of bundles."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings


class BadKey(RuntimeError):
    """The file does not hold a key."""


class Signer:
    """One key; ``public`` is its public half as 64 hex digits."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """The signature, 128 hex digits; the same message always gets the same one."""
        return self._key.sign(message).hex()


def site_signer() -> Signer:
    """The key as it is now: it is read anew, so that a running process follows a rotation. Raises BadKey."""
    path = Path(settings.SIGNING_KEY_FILE)
    try:
        return Signer(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "not 64 hex digits"
        raise BadKey(f"{path}: {what}, expected the Ed25519 seed that the site signs with") from None
