"""Whom to believe, and where to send: every phone and every attack by addresses alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_server.rtp.latch import LEARNING_PACKETS, Address, Latch

PHONE = "203.0.113.7"
SBC, GATEWAY = "198.51.100.1", "198.51.100.77"
STRANGER: Address = ("192.0.2.66", 4_000)


def admit(latch: Latch, source: Address, packets: int = LEARNING_PACKETS) -> list[bool]:
    return [latch.admit(source) for _ in range(packets)]


def test_phone_that_says_where_it_is_is_sent_to_at_once_and_believed() -> None:
    latch = Latch((PHONE, 5_004), PHONE)

    assert latch.destination == (PHONE, 5_004)
    assert latch.admit((PHONE, 5_004))
    assert latch.statistics().source == (PHONE, 5_004)


def test_phone_behind_a_nat_is_answered_where_it_sends_from() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)

    assert latch.destination is None
    assert latch.admit((PHONE, 61_234))
    assert latch.destination == (PHONE, 61_234)


def test_phone_that_announces_another_family_is_heard_by_its_signalling_address() -> None:
    """An IPv6 `c=` line over IPv4 signalling, as a softphone does."""
    latch = Latch(("2001:db8::5", 7_078), "127.0.0.1")

    assert latch.admit(("127.0.0.1", 7_078))
    assert latch.destination == ("127.0.0.1", 7_078)


def test_gateway_of_a_trunk_is_heard_where_its_signalling_says() -> None:
    latch = Latch((GATEWAY, 9_000), SBC)

    assert latch.destination is None  # a third party, so far as we know
    assert latch.admit((GATEWAY, 9_000))
    assert latch.destination == (GATEWAY, 9_000)


def test_gateway_of_a_trusted_trunk_is_sent_to_at_once() -> None:
    latch = Latch((GATEWAY, 9_000), SBC, is_peer_trusted=True)

    assert latch.destination == (GATEWAY, 9_000)


def test_media_is_never_sent_to_a_third_party_on_somebodys_word() -> None:
    """Reflection: the SDP names a victim."""
    latch = Latch(("192.0.2.200", 53), PHONE)
    admit(latch, STRANGER)

    assert latch.destination is None


def test_trusted_peer_cannot_name_what_listens_beside_us() -> None:
    assert Latch(("127.0.0.1", 53), PHONE, is_peer_trusted=True).destination is None
    assert Latch(("::ffff:127.0.0.1", 53), PHONE, is_peer_trusted=True).destination is None
    assert Latch(("127.0.0.1", 5_004), "127.0.0.1").destination == ("127.0.0.1", 5_004)


@pytest.mark.parametrize("before", [0, 1, LEARNING_PACKETS])
def test_stranger_is_counted_and_never_believed(before: int) -> None:
    latch = Latch((PHONE, 5_004), PHONE)
    admit(latch, (PHONE, 5_004), before)

    assert not any(admit(latch, STRANGER, 3))

    statistics = latch.statistics()
    assert (statistics.admitted, statistics.strangers) == (before, 3)
    assert statistics.last_stranger == STRANGER


def test_second_port_of_an_allowed_host_is_a_strangers() -> None:
    latch = Latch(None, PHONE)
    admit(latch, (PHONE, 61_000), 1)

    assert not latch.admit((PHONE, 62_000))
    assert latch.destination == (PHONE, 61_000)


def test_announced_address_takes_the_place_of_another_port_while_learning() -> None:
    """The tail of an earlier call on the same port, from the same trunk."""
    latch = Latch((GATEWAY, 9_000), SBC)
    admit(latch, (GATEWAY, 8_000), LEARNING_PACKETS - 1)

    assert latch.admit((GATEWAY, 9_000))
    assert not latch.admit((GATEWAY, 8_000))
    assert latch.destination == (GATEWAY, 9_000)


def test_final_source_stays_even_if_the_announced_address_sends() -> None:
    latch = Latch((GATEWAY, 9_000), SBC)
    admit(latch, (GATEWAY, 8_000))

    assert not latch.admit((GATEWAY, 9_000))
    assert latch.destination == (GATEWAY, 8_000)


def test_refresh_of_the_session_changes_nothing() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_234))

    latch.renew(("192.168.1.5", 5_004), PHONE)

    assert latch.destination == (PHONE, 61_234)
    assert not latch.admit((PHONE, 61_235))


def test_hold_keeps_the_source_for_the_time_after_it() -> None:
    latch = Latch((PHONE, 5_004), PHONE)
    admit(latch, (PHONE, 5_004))

    latch.renew(("0.0.0.0", 5_004), PHONE)
    latch.renew(None, PHONE)

    assert latch.destination == (PHONE, 5_004)
    assert latch.admit((PHONE, 5_004))


def test_new_address_in_signalling_lets_the_latch_move() -> None:
    latch = Latch((GATEWAY, 9_000), SBC)
    admit(latch, (GATEWAY, 9_000))

    latch.renew(("198.51.100.78", 9_500), SBC)

    assert not latch.admit((GATEWAY, 9_000))  # no longer named by anybody
    assert latch.admit(("198.51.100.78", 9_500))
    assert latch.destination == ("198.51.100.78", 9_500)


def test_former_source_goes_on_until_the_new_one_is_heard() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_000))

    latch.renew(("192.168.1.5", 5_008), PHONE)

    assert all(admit(latch, (PHONE, 61_000), 2 * LEARNING_PACKETS))
    assert latch.destination == (PHONE, 61_000)  # the new one is behind the same NAT
    assert latch.admit((PHONE, 61_004))
    assert not latch.admit((PHONE, 61_000))
    assert latch.destination == (PHONE, 61_004)


def test_new_address_is_sent_to_while_the_former_source_still_sends() -> None:
    latch = Latch((SBC, 9_000), SBC)
    admit(latch, (SBC, 9_000))

    latch.renew((SBC, 9_500), SBC)
    admit(latch, (SBC, 9_000), 1)

    assert latch.destination == (SBC, 9_500)


def test_former_source_is_sent_to_again_when_signalling_names_it_again() -> None:
    latch = Latch((SBC, 9_000), SBC)
    admit(latch, (SBC, 9_000))
    latch.renew((SBC, 9_500), SBC)
    admit(latch, (SBC, 9_000), 1)

    latch.renew((SBC, 9_000), SBC)

    assert latch.destination == (SBC, 9_000)


def test_nothing_is_sent_to_a_former_source_before_it_is_heard_again() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_000))

    latch.renew(("192.168.1.5", 5_008), PHONE)

    assert latch.destination is None


def test_two_moves_before_anything_is_heard_remember_the_source() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_000))
    latch.renew(("192.168.1.5", 5_008), PHONE)
    latch.renew(("192.168.1.5", 5_012), PHONE)
    latch.admit((PHONE, 61_000))

    assert latch.admit((PHONE, 61_012))  # so the former one was not final


def test_signalling_that_catches_up_with_the_source_does_not_interrupt_it() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_000), 1)

    latch.renew((PHONE, 61_000), PHONE)

    assert latch.destination == (PHONE, 61_000)
    assert not latch.admit((PHONE, 61_001))


def test_phone_that_changes_networks_is_heard_from_the_new_one() -> None:
    latch = Latch(("192.168.1.5", 5_004), PHONE)
    admit(latch, (PHONE, 61_000))

    latch.renew(("192.168.1.5", 5_004), "203.0.113.99")

    assert not latch.admit((PHONE, 61_000))
    assert latch.admit(("203.0.113.99", 40_000))


def test_signalling_that_moves_before_any_address_is_announced_is_followed() -> None:
    latch = Latch(None, PHONE)
    admit(latch, (PHONE, 61_000))

    latch.renew(None, "203.0.113.99")

    assert not latch.admit((PHONE, 61_000))


@pytest.mark.parametrize(
    "announced",
    [
        None,
        ("0.0.0.0", 5_004),
        ("::", 5_004),
        ("239.1.2.3", 5_004),
        ("ff02::1", 5_004),
        ("255.255.255.255", 5_004),
        ("phone.example.com", 5_004),
        (PHONE, 0),
        (PHONE, 65_536),
    ],
)
def test_what_is_no_address_of_one_party_is_never_sent_to(announced: Address | None) -> None:
    latch = Latch(announced, PHONE, is_peer_trusted=True)

    assert latch.destination is None
    assert latch.statistics().announced is None
    assert latch.admit((PHONE, 5_004))


@pytest.mark.parametrize(
    ("announced", "peer", "source"),
    [
        ((PHONE, 5_004), PHONE, (f"::ffff:{PHONE}", 5_004)),
        ((f"::ffff:{PHONE}", 5_004), PHONE, (PHONE, 5_004)),
        (("fe80::1", 5_004), "fe80::1%eth0", ("fe80::1%3", 5_004)),
        (("2001:DB8:0::5", 5_004), "2001:db8::5", ("2001:db8::5", 5_004)),
    ],
)
def test_one_address_may_be_written_in_several_ways(
    announced: Address, peer: str, source: Address
) -> None:
    latch = Latch(announced, peer)

    assert latch.destination == announced
    assert latch.admit(source)
    assert latch.destination == source


def test_source_that_is_no_number_is_a_strangers() -> None:
    assert not Latch((PHONE, 5_004), "phone.example.com").admit(("phone.example.com", 5_004))


hosts = st.sampled_from([PHONE, SBC, GATEWAY, STRANGER[0], "127.0.0.1", "0.0.0.0"])
addresses = st.tuples(hosts, st.integers(1, 3))


@given(
    announced=st.none() | addresses,
    peer=hosts,
    events=st.lists(
        st.tuples(st.just("packet"), addresses) | st.tuples(st.just("sdp"), addresses),
        max_size=150,
    ),
)
def test_nobody_is_believed_or_sent_to_whom_signalling_never_knew(
    announced: Address | None, peer: str, events: list[tuple[str, Address]]
) -> None:
    latch = Latch(announced, peer)
    known = {peer} | ({announced[0]} if announced else set())
    heard: set[Address] = set()

    for kind, address in events:
        if kind == "sdp":
            latch.renew(address, peer)
            known.add(address[0])
        elif latch.admit(address):
            assert address[0] in known
            heard.add(address)
        destination = latch.destination
        assert destination is None or destination in heard or destination[0] == peer
