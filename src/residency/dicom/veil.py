"""Identifiers and a secret in, names that cannot be turned back but still group out (HMAC-SHA-256)."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from residency.errors import UserError
from residency.files import unreadable, write_text

_LENGTH = 16
_UUID_ROOT = "2.25."
"""The root of UIDs made of 128 bits (DICOM PS3.5 B.2)."""


@dataclass(frozen=True)
class Veil:
    """A secret under which the same identifier always gets the same name; without the secret no name can be tested."""

    salt: bytes = field(repr=False)

    def name(self, kind: str, *identifiers: str) -> str:
        """Return `KIND-` and 12 hexadecimal digits (48 bits), the same for the same identifiers."""
        return f"{kind}-{self._digest(kind, identifiers)[:6].hex()}"

    def uid(self, uid: str) -> str:
        """Return a valid UID of 128 bits in place of another."""
        return f"{_UUID_ROOT}{int.from_bytes(self._digest('uid', (uid,))[:16], 'big')}"

    def _digest(self, kind: str, identifiers: tuple[str, ...]) -> bytes:
        return hmac.digest(self.salt, "\0".join((kind, *identifiers)).encode("utf-8", "replace"), hashlib.sha256)


def draw_veil() -> Veil:
    """Return a veil whose secret is drawn now and kept nowhere: names hold for one run."""
    return Veil(secrets.token_bytes(32))


def open_veil(path: Path | None) -> Veil:
    """Return the veil whose secret lies in a file, which is made if it is missing; None draws one.

    Raises:
        UserError: the file cannot be read or written, or holds too short a secret.
    """
    if path is None:
        return draw_veil()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        text = secrets.token_hex(32)
        write_text(path, text + "\n")
        path.chmod(0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from None
    if len(text) < _LENGTH:
        raise UserError(
            f"{path} holds too short a secret",
            found=f"{len(text)} characters",
            allowed=f"at least {_LENGTH}",
            do="name a file that does not exist yet, and one is made",
        )
    return Veil(text.encode())
