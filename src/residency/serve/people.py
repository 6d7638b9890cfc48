"""A tokens file in, who a request comes from and what that person may do out. Only hashes of tokens are kept."""

import hashlib
import hmac
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from residency.errors import UserError
from residency.files import is_there, read_text, write_text
from residency.types import Record

Role = Literal["reader", "reviewer", "admin"]
ROLES: tuple[Role, ...] = ("reader", "reviewer", "admin")
"""What each may do the next may too: look and ask; review; export and see the meters."""
Name = Annotated[str, Field(pattern=r"^[\w][\w .@'-]{0,63}$")]


class Entry(Record):
    """A line of the tokens file."""

    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Person:
    """Who asks; `named` is false on a machine's own address, where nobody has to say who they are."""

    name: str
    role: Role
    named: bool = True

    def may(self, role: Role) -> bool:
        """Tell whether this person may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class People:
    """Everyone with a token. Empty: whoever reaches the server's address may do all."""

    entries: Mapping[str, Entry]

    def find(self, authorization: str) -> Person | None:
        """Return whose token an `Authorization` header holds, or None."""
        if not self.entries:
            return Person("", "admin", named=False)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = None
        for name, entry in self.entries.items():  # to the end, whoever it is: time tells nothing
            if hmac.compare_digest(entry.sha256, hash_token(token.strip())):
                found = Person(name, entry.role)
        return found


def read_people(path: Path) -> People:
    """Read a tokens file.

    Raises:
        UserError: it is missing, or holds anything but names with a role and a hash.
    """
    do = f"residency token NAME --role reviewer --tokens {shlex.quote(str(path))}"
    if not is_there(path):
        raise UserError(f"there is no tokens file {path}", found="nothing there", do=do)
    try:
        entries = TypeAdapter(dict[Name, Entry]).validate_python(yaml.safe_load(read_text(path)))
    except (yaml.YAMLError, ValidationError):
        entries = {}
    if not entries:
        raise UserError(f"{path} is no tokens file", found="other than NAME: {role, sha256}", do=do)
    return People(entries)


def add_person(path: Path, name: str, role: Role) -> str:
    """Add a person to a tokens file (or give a new token), and return the token, which is nowhere else.

    Raises:
        UserError: the name cannot be one, or the file is none.
    """
    entries = dict(read_people(path).entries) if is_there(path) else {}
    token = make_token()
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UserError(
            "this cannot be a name", found=name[:80], allowed="letters, digits, spaces, . @ ' - (64)"
        ) from None
    entries[name] = Entry(role=role, sha256=hash_token(token))
    write_text(path, yaml.safe_dump({who: entry.model_dump() for who, entry in entries.items()}, allow_unicode=True))
    path.chmod(0o600)
    return token


def make_token() -> str:
    """Return a new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return a token's SHA-256. A slow hash is for words that people choose; these are random."""
    return hashlib.sha256(token.encode()).hexdigest()
