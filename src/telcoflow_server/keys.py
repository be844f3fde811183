"""The key file: digests of API keys, created, listed and revoked by `telcoflow keys`.

Not here: checking a key (`api/auth.py`), the commands (`cli/keys.py`).
Implements docs/explanation/security.md, "API keys".
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

SECRET_BYTES = 32
"""256 random bits cannot be guessed, so a fast hash of them is as good as a slow one."""

ID_BYTES = 4
KEY_PREFIX = "tfk"

_MODE = 0o600


class KeyFileError(Exception):
    """The key file cannot be used; the text names it and never holds a key."""


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a key.

    Attributes:
        key_id: Names the key, in lists and when it is revoked; also part of the key's text.
        connector_uuid: Whose key it is.
        sha256: Digest of the key, hexadecimal.
        created_at_s: Wall-clock time, whole seconds since 1970.
    """

    key_id: str
    connector_uuid: str
    sha256: str
    created_at_s: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[StoredKey]


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, hexadecimal: what is kept of it.

    A slow hash with a salt is for passwords, which can be guessed and are used twice. A key of
    256 random bits is neither, and a fast hash can be checked on every request.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(file: Path) -> tuple[StoredKey, ...]:
    """Return the keys in a file.

    Raises:
        KeyFileError: it cannot be read, is not a key file, or others may write to it.
    """
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise KeyFileError(f"{file} can be written by others: chmod 600 {file}")
            return tuple(msgspec.json.decode(opened.read(), type=_File).keys)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise KeyFileError(f"{file} is no key file: {error}") from None


def create_key(
    file: Path, connector_uuid: str, *, key_id: str, secret: str, created_at_s: int
) -> str:
    """Add a key to a file, which is made if there is none; return the key, kept nowhere else.

    Args:
        key_id: New in this file.
        secret: `SECRET_BYTES` random bytes as text.

    Raises:
        KeyFileError: the file cannot be read or written.
    """
    key = f"{KEY_PREFIX}_{key_id}_{secret}"
    stored = StoredKey(key_id, connector_uuid, digest_of(key), created_at_s)
    with _locked(file):
        _replace(file, (*(read_keys(file) if file.exists() else ()), stored))
    return key


def revoke_key(file: Path, key_id: str) -> StoredKey:
    """Remove a key from a file; return what was kept of it.

    Raises:
        KeyFileError: the file cannot be read or written, or has no such key.
    """
    with _locked(file):
        keys = read_keys(file)
        for key in keys:
            if key.key_id == key_id:
                _replace(file, tuple(other for other in keys if other is not key))
                return key
    raise KeyFileError(f"{file} has no key {key_id}")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep others from changing the file meanwhile: two who read it would lose one's key."""
    try:
        # The directory, because the file itself is replaced.
        folder = os.open(file.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(file: Path, keys: tuple[StoredKey, ...]) -> None:
    """Write a new file and put it in the old one's place: a reader sees one or the other."""
    file = file.resolve()  # not a link: what it names
    new = file.with_name(f".{file.name}.new")
    text = msgspec.json.format(msgspec.json.encode(_File(list(keys)))) + b"\n"
    try:
        new.unlink(missing_ok=True)  # of a process that was killed here
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(descriptor)
        new.replace(file)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written: {error.strerror}") from None
