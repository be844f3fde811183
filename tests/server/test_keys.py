from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from telcoflow_server.keys import (
    KeyFileError,
    StoredKey,
    create_key,
    digest_of,
    read_keys,
    revoke_key,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def create(file: Path, key_id: str = "a", connector: str = "c1") -> str:
    return create_key(file, connector, key_id=key_id, secret="s" + key_id, created_at_s=7)


def test_what_is_kept_is_the_digest_of_what_was_returned(file: Path) -> None:
    key = create(file)

    assert key == "tfk_a_sa"
    assert read_keys(file) == (StoredKey("a", "c1", digest_of(key), 7),)


def test_keys_are_added_and_removed_one_by_one(file: Path) -> None:
    for key_id in "abc":
        create(file, key_id)

    assert revoke_key(file, "b").key_id == "b"
    assert [key.key_id for key in read_keys(file)] == ["a", "c"]
    with pytest.raises(KeyFileError, match="has no key b"):
        revoke_key(file, "b")


def test_two_who_create_at_once_lose_nothing(file: Path) -> None:
    names = [f"k{number}" for number in range(20)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: create(file, name), names))

    assert {key.key_id for key in read_keys(file)} == set(names)


def test_a_link_is_followed_not_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.json"
    file.symlink_to(target)

    create(file)

    assert file.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(read_keys(file)) == 1


def test_what_a_killed_process_left_is_no_obstacle(file: Path) -> None:
    file.with_name(".keys.json.new").write_text("half")

    create(file)

    assert len(read_keys(file)) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_others_can_write_to_is_refused(file: Path, mode: int) -> None:
    create(file)
    file.chmod(mode)

    with pytest.raises(KeyFileError, match="chmod 600"):
        read_keys(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"keys": [{}]}',
        '{"keys": [], "more": 1}',
        json.dumps({"keys": [{"key_id": 1}]}),
        '{"keys": "\\ud800"}',
    ],
)
def test_a_file_that_is_no_key_file_is_refused_and_stays_as_it_is(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)

    for attempt in (lambda: read_keys(file), lambda: create(file), lambda: revoke_key(file, "a")):
        with pytest.raises(KeyFileError, match="is no key file"):
            attempt()
    assert file.read_text() == text


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(KeyFileError, match=r"keys\.json cannot be read: No such file"):
        read_keys(file)
