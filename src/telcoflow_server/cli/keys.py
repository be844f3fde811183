"""`telcoflow keys`: create, list and revoke API keys.

Not here: the file they are in (`keys.py`). Implements docs/reference/cli.md.
"""

from __future__ import annotations

import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from telcoflow_server.keys import (
    ID_BYTES,
    SECRET_BYTES,
    KeyFileError,
    create_key,
    read_keys,
    revoke_key,
)

_APPLY = "a running server reads it on SIGHUP"


def create(file: Path, connector_uuid: str) -> int:
    """Print a new key, once; return the exit code."""
    try:
        key = create_key(
            file,
            connector_uuid,
            key_id=secrets.token_hex(ID_BYTES),
            secret=secrets.token_urlsafe(SECRET_BYTES),
            created_at_s=int(time.time()),
        )
    except KeyFileError as error:
        return _failed(error)
    print(key)
    print(
        f"This is the only time the key is shown. Its digest is in {file}; {_APPLY}.",
        file=sys.stderr,
    )
    return 0


def list_all(file: Path) -> int:
    """Print one line for each key; return the exit code."""
    try:
        keys = read_keys(file)
    except KeyFileError as error:
        return _failed(error)
    for key in keys:
        created = datetime.fromtimestamp(key.created_at_s, UTC)
        print(f"{key.key_id}  {created:%Y-%m-%dT%H:%M:%SZ}  {key.connector_uuid}")
    return 0


def revoke(file: Path, key_id: str) -> int:
    """Remove a key; return the exit code."""
    try:
        key = revoke_key(file, key_id)
    except KeyFileError as error:
        return _failed(error)
    print(f"revoked {key.key_id} of {key.connector_uuid}; {_APPLY}")
    return 0


def _failed(error: KeyFileError) -> int:
    print(f"telcoflow: {error}", file=sys.stderr)
    return 1
