"""Who may open the next link of a call, and for how long it is waited for."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.call.resumption import SECRETS_KEPT, SILENT_TICKS, Resumption, Superseded

GRACE_TICKS = 500


@pytest.fixture
def resumption() -> Resumption:
    numbers = count(1)
    return Resumption(lambda: f"secret-{next(numbers)}", GRACE_TICKS)


def run(resumption: Resumption, ticks: int) -> bool:
    """Return whether the client is silent after so many ticks."""
    is_silent = False
    for _ in range(ticks):
        is_silent = resumption.advance()
    return is_silent


def test_nothing_opens_a_link_before_the_first_one(resumption: Resumption) -> None:
    assert not resumption.is_opened_by("")
    assert not resumption.is_opened_by("secret-1")
    assert not resumption.awaits_first_word


def test_the_secret_of_the_last_welcome_opens_the_next_link(resumption: Resumption) -> None:
    secret = resumption.begin(1)

    assert resumption.is_opened_by(secret)
    assert not resumption.is_opened_by("")
    assert not resumption.is_opened_by(secret + "x")
    assert not resumption.is_opened_by("sécret")


def test_the_secret_before_it_does_too_until_the_client_has_spoken(resumption: Resumption) -> None:
    first = resumption.begin(1)
    resumption.spoke()
    second = resumption.begin(2)
    opened = [resumption.is_opened_by(first), resumption.is_opened_by(second)]

    resumption.spoke()
    opened += [resumption.is_opened_by(first), resumption.is_opened_by(second)]

    assert opened == [True, True, False, True]


def test_a_welcome_that_is_lost_again_and_again_locks_nobody_out(resumption: Resumption) -> None:
    """The client has the secret of the last link on which it spoke, or of any after it."""
    secrets = [resumption.begin(1)]
    resumption.spoke()

    secrets += [resumption.begin(epoch) for epoch in range(2, 10)]

    assert all(resumption.is_opened_by(secret) for secret in secrets)


def test_secrets_of_links_without_a_word_are_bounded(resumption: Resumption) -> None:
    secrets = [resumption.begin(epoch) for epoch in range(1, SECRETS_KEPT + 2)]

    assert not resumption.is_opened_by(secrets[0])
    assert all(resumption.is_opened_by(secret) for secret in secrets[1:])


def test_the_token_opens_links_until_the_first_word(resumption: Resumption) -> None:
    resumption.begin(1)
    awaited = [resumption.awaits_first_word]
    resumption.spoke()
    awaited.append(resumption.awaits_first_word)
    resumption.begin(2)
    awaited.append(resumption.awaits_first_word)

    assert awaited == [True, False, False]


def test_the_token_opens_another_link_when_the_first_welcomes_were_lost(
    resumption: Resumption,
) -> None:
    resumption.begin(1)
    resumption.lose()

    resumption.begin(2)

    assert resumption.awaits_first_word


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_attempt_that_was_overtaken_changes_nothing(resumption: Resumption, epoch: int) -> None:
    secret = resumption.begin(2)

    with pytest.raises(Superseded):
        resumption.begin(epoch)

    assert resumption.is_opened_by(secret)
    assert resumption.begin(3) != secret


def test_a_client_that_says_nothing_for_five_seconds_is_out_of_reach(
    resumption: Resumption,
) -> None:
    resumption.begin(1)
    silent = [run(resumption, SILENT_TICKS - 1)]
    resumption.spoke()
    silent.append(run(resumption, SILENT_TICKS - 1))
    silent.append(run(resumption, 1))

    assert silent == [False, False, True]


def test_the_call_waits_for_the_grace_and_no_longer(resumption: Resumption) -> None:
    resumption.begin(1)
    run(resumption, 100)
    resumption.lose()
    run(resumption, GRACE_TICKS - 1)
    over = [resumption.is_over]
    is_silent = run(resumption, 1)
    over.append(resumption.is_over)

    assert over == [False, True]
    assert not is_silent, "who is away is not silent, too"


def test_outages_are_counted_with_their_length(resumption: Resumption) -> None:
    resumption.begin(1)
    run(resumption, 10)
    resumption.lose()
    run(resumption, 30)
    resumption.begin(2)
    run(resumption, 10)
    resumption.lose()
    run(resumption, 5)

    assert (resumption.outages, resumption.outage_ticks) == (2, 35)


def test_a_link_in_time_ends_the_waiting(resumption: Resumption) -> None:
    resumption.begin(1)
    resumption.lose()
    run(resumption, GRACE_TICKS - 1)

    resumption.begin(2)
    run(resumption, 2)

    assert not resumption.is_over


@given(st.lists(st.sampled_from(["attempt", "lost welcome", "speak", "lose", "tick"]), max_size=60))
def test_a_client_is_never_locked_out_and_old_secrets_are_void_once_it_has_spoken(
    script: list[str],
) -> None:
    numbers = count(1)
    resumption = Resumption(lambda: f"secret-{next(numbers)}", GRACE_TICKS)
    epoch = 0
    known = ""  # what the client has; "" is the token of the call
    void: set[str] = set()
    is_linked = False

    for step in script:
        if step in ("attempt", "lost welcome"):
            is_let_in = (
                resumption.is_opened_by(known)
                if known
                else epoch == 0 or (resumption.awaits_first_word)
            )
            assert is_let_in
            epoch += 1
            secret = resumption.begin(epoch)
            is_linked = step == "attempt"
            known = secret if is_linked else known
        elif step == "speak" and is_linked:
            resumption.spoke()
            void.update(f"secret-{n}" for n in range(1, epoch))
            void.discard(known)
        elif step == "lose" and epoch:
            resumption.lose()
            is_linked = False
        else:
            resumption.advance()
        assert not any(resumption.is_opened_by(secret) for secret in void)
