"""Registrations, by the steps of RFC 3261 §10.3."""

from __future__ import annotations

from telcoflow_server.sip.events import Registered, Unregistered
from telcoflow_server.sip.message import Headers, Request
from telcoflow_server.sip.registrar import MAX_BINDINGS, Binding, Outcome, Registrar

HOME = ("192.0.2.9", 5060)


def register(
    registrar: Registrar,
    *headers: tuple[str, str],
    now_s: float = 0.0,
    cseq: int = 1,
    call_id: str = "c",
    source: tuple[str, int] = HOME,
) -> Outcome:
    whole: Headers = headers
    request = Request("REGISTER", "sip:x", call_id, cseq, whole, None, source)
    return registrar.register("alice", request, now_s)


def contact(text: str) -> tuple[str, str]:
    return "contact", text


def test_contact_expires_as_its_parameter_then_its_header_then_the_default_says() -> None:
    registrar = Registrar(60, 10_000)

    outcome = register(
        registrar,
        contact("<sip:a@1>;expires=100"),
        contact("<sip:a@2>"),
        contact("<sip:a@3>;expires=x"),
        ("expires", "200"),
    )
    later = register(registrar, contact("<sip:a@4>"), cseq=2)

    assert [value.partition("=")[2] for _, value in outcome.headers] == ["100", "200", "200"]
    assert later.headers[-1] == contact("<sip:a@4>;expires=3600")
    assert len(registrar) == 4


def test_time_is_cut_to_the_longest_and_refused_below_the_shortest() -> None:
    registrar = Registrar(60, 600)

    cut = register(registrar, contact("<sip:a@1>;expires=99999999999"))
    brief = register(registrar, contact("<sip:a@2>"), contact("<sip:a@3>;expires=59"), cseq=2)

    assert cut.headers == (contact("<sip:a@1>;expires=600"),)
    assert brief == Outcome(423, (("min-expires", "60"),))
    assert len(registrar) == 1  # all of a REGISTER, or nothing


def test_request_without_contacts_asks_what_there_is() -> None:
    registrar = Registrar(60, 600)
    register(registrar, contact("<sip:a@1>"))

    asked = register(registrar, now_s=100.0, cseq=2)

    assert asked == Outcome(200, (contact("<sip:a@1>;expires=500"),))


def test_star_removes_everything_and_nothing_else_may_stand_with_it() -> None:
    registrar = Registrar(60, 600)
    register(registrar, contact("<sip:a@1>"), contact("<sip:a@2>"))

    beside = register(registrar, contact("*"), contact("<sip:a@3>"), ("expires", "0"), cseq=2)
    to_stay = register(registrar, contact("*"), cseq=3)
    removed = register(registrar, contact("*"), ("expires", "0"), cseq=4)

    assert (beside.status, to_stay.status) == (400, 400)
    assert removed.status == 200
    assert [type(one) for one in removed.changes] == [Unregistered, Unregistered]
    assert len(registrar) == 0


def test_overtaken_request_changes_nothing() -> None:
    registrar = Registrar(60, 600)
    register(registrar, contact("<sip:a@1>"), cseq=5)

    again = register(registrar, contact("<sip:a@1>;expires=0"), cseq=5)
    star = register(registrar, contact("*"), ("expires", "0"), cseq=4)
    other = register(registrar, contact("<sip:a@1>;expires=0"), call_id="d")

    assert (again.status, star.status, other.status) == (500, 500, 200)


def test_removing_what_is_not_there_changes_nothing() -> None:
    outcome = register(Registrar(60, 600), contact("<sip:a@1>;expires=0"))

    assert outcome == Outcome(200)


def test_contact_that_cannot_be_read_is_400() -> None:
    assert register(Registrar(60, 600), contact("?")).status == 400


def test_last_phone_is_found_until_it_expires() -> None:
    registrar = Registrar(60, 600)
    register(registrar, contact("<sip:a@1>"), source=("192.0.2.1", 1))
    second = register(registrar, contact("<sip:a@2>;expires=60"), cseq=2, source=("192.0.2.2", 2))

    assert isinstance(second.changes[0], Registered)
    found = [registrar.find("alice", now_s) for now_s in (0, 59, 61, 601)]
    assert [None if one is None else one.source[1] for one in found] == [2, 2, 1, None]
    assert registrar.find("bob", 0) is None
    assert [one.contact.value for one in registrar.expire(60)] == ["sip:a@2"]
    assert len(registrar.expire(600)) == 1
    assert registrar.expire(600) == []


def test_ninth_phone_takes_the_place_of_the_first() -> None:
    registrar = Registrar(60, 600)
    for number in range(MAX_BINDINGS + 1):
        outcome = register(registrar, contact(f"<sip:a@{number}>"), cseq=number)

    assert len(registrar) == MAX_BINDINGS
    assert "<sip:a@0>" not in str(outcome.headers)
    gone, came = outcome.changes
    assert isinstance(gone, Unregistered)
    assert isinstance(came, Registered)
    assert (gone.contact.value, came.contact.value) == ("sip:a@0", f"sip:a@{MAX_BINDINGS}")


def test_restored_phone_is_found() -> None:
    registrar = Registrar(60, 600)

    registrar.restore("alice", Binding("sip:a@1", HOME, 10.0))

    assert registrar.find("alice", 0) == Binding("sip:a@1", HOME, 10.0)
    assert "sip:a@1" not in repr(registrar.find("alice", 0))
