"""Registrations, trunks, calls we make, transfers and restarts, in virtual time."""

from __future__ import annotations

import pytest

from telcoflow_server.sip.accounts import EdgeSettings, Private, Trunk
from telcoflow_server.sip.commands import (
    Configure,
    Dial,
    HangUp,
    Refer,
    ReportTransfer,
    RestoreDialog,
    Serve,
    Stop,
)
from telcoflow_server.sip.events import (
    DialogId,
    DialogRestored,
    DialogState,
    Ending,
    Failed,
    HungUp,
    TransferProgress,
    TrunkReachable,
    TrunkRegistered,
    TrunkUnregistered,
    Unregistered,
)
from telcoflow_server.sip.message import first
from telcoflow_server.sip.reception import MAX_DELAYED
from telcoflow_server.sip.switchboard import RESTORED_CSEQ_STEP
from tests.server.sip.conftest import extension
from tests.server.sip.fake_stack import Desk
from tests.support.sip_phone import ANSWER, OFFER, authorization


def ending_of(desk: Desk) -> Ending:
    (ended,) = desk.of_kind(HungUp)
    return ended.ending


def test_registration_that_is_not_renewed_ends() -> None:
    desk = Desk(extensions=(extension("alice"),))
    challenged, _ = desk.receive("REGISTER", (("to", "<sip:alice@x>"),))
    challenge = challenged.header("www-authenticate")
    assert challenge is not None
    login = authorization(challenge, "alice", "secret", "REGISTER", "sip:x")
    headers = (("to", "<sip:alice@x>"), ("expires", "100"), (login[0].lower(), login[1]))
    registered, _ = desk.receive("REGISTER", headers, cseq=2)

    desk.board.tick(99.9)
    assert desk.of_kind(Unregistered) == []
    desk.board.tick(100.0)

    assert registered.statuses == [200]
    assert [one.extension for one in desk.of_kind(Unregistered)] == ["alice"]
    assert desk.board.statistics().registrations == 0


def test_wrong_passwords_are_answered_later_and_later() -> None:
    desk = Desk(extensions=(extension("alice"),))
    to = (("to", "<sip:alice@x>"),)
    challenge = desk.receive("REGISTER", to)[0].header("www-authenticate")
    assert challenge is not None
    name, value = authorization(challenge, "alice", "guess", "REGISTER", "sip:x")
    guesses = [desk.receive("REGISTER", (*to, (name.lower(), value)))[0] for _ in range(6)]

    answered = []
    for now_s in (0.0, 1.0, 2.0, 3.0):
        desk.board.tick(now_s)
        answered.append(sum(bool(one.statuses) for one in guesses))

    assert answered == [3, 4, 5, 6]
    assert desk.board.statistics().logins_failed == 6


def test_answers_that_wait_are_bounded() -> None:
    desk = Desk(extensions=(extension("alice"),))
    to = (("to", "<sip:alice@x>"),)
    guesses = []
    for number in range(MAX_DELAYED // 6 + 2):
        source = (f"198.51.{number // 250}.{number % 250}", 5060)
        challenge = desk.receive("REGISTER", to, source=source)[0].header("www-authenticate")
        assert challenge is not None
        name, value = authorization(challenge, "alice", "guess", "REGISTER", "sip:x")
        wrong = (*to, (name.lower(), value))
        guesses += [desk.receive("REGISTER", wrong, source=source)[0] for _ in range(9)]

    waiting = sum(not one.statuses for one in guesses)

    assert waiting == MAX_DELAYED


def test_register_without_a_name_is_400() -> None:
    assert Desk().receive("REGISTER", (("to", "nobody"),))[0].statuses == [400]


def test_invite_without_a_tag_is_400() -> None:
    desk = Desk()

    assert desk.receive("INVITE", (("from", "<sip:a@b>"),))[0].statuses == [400]
    assert desk.receive("INVITE", (("from", "?"),))[0].statuses == [400]


TRUNK = Trunk(
    name="carrier",
    host="192.0.2.40",
    user="acct",
    password=Private("pw"),
    registers=True,
    expires_s=100,
    keep_alive_s=0,
)


def test_registration_at_a_trunk_is_renewed_before_it_ends() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.board.tick(0.0)
    desk.sent[0].answer(100)
    desk.sent[0].answer(200, headers=(("expires", "50"),))

    desk.board.tick(39.9)
    assert len(desk.sent) == 1
    desk.board.tick(40.0)
    desk.sent[1].answer(200, 40.0)

    assert [one.request.cseq for one in desk.sent] == [1, 2]
    assert [one.expires_s for one in desk.of_kind(TrunkRegistered)] == [50]


@pytest.mark.parametrize("contact", ["<sip:acct@192.0.2.1:5060>;expires=20", "<sip:192.0.2.1>"])
def test_time_granted_is_that_of_our_contact(contact: str) -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.board.tick(0.0)
    others = (
        ("contact", "<sip:else@192.0.2.77>;expires=7"),
        ("contact", "?"),
        ("contact", contact),
    )

    desk.sent[0].answer(200, headers=others)

    (registered,) = desk.of_kind(TrunkRegistered)
    assert registered.expires_s == (20 if "expires" in contact else 100)


def test_refused_registration_is_tried_again_more_and_more_slowly() -> None:
    desk = Desk(trunks=(TRUNK,))
    tries = []
    for now_s in range(200):
        before = len(desk.sent)
        desk.board.tick(float(now_s))
        if len(desk.sent) > before:
            tries.append(now_s)
            desk.sent[-1].answer(403, float(now_s))

    assert tries == [0, 10, 30, 70, 150]
    assert {one.status for one in desk.of_kind(TrunkUnregistered)} == {403}


def test_trunk_that_wants_no_longer_than_asked_is_no_reason_to_ask_again_at_once() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.board.tick(0.0)

    desk.sent[0].answer(423, headers=(("min-expires", "100"),))
    desk.board.tick(1.0)

    assert len(desk.sent) == 1


def test_trunk_that_answers_slowly_is_unreachable_once() -> None:
    desk = Desk(trunks=(Trunk(name="carrier", host="192.0.2.40", keep_alive_s=30),))
    for now_s in (0.0, 30.0, 60.0):
        desk.board.tick(now_s)
        desk.sent[-1].answer(100, now_s)
        desk.sent[-1].answer(408, now_s)

    assert [one.is_reachable for one in desk.of_kind(TrunkReachable)] == [False]


def test_new_settings_leave_what_has_not_changed_and_withdraw_the_rest() -> None:
    other = Trunk(name="other", host="192.0.2.41", registers=True, user="x", keep_alive_s=0)
    desk = Desk(trunks=(TRUNK, other))
    desk.board.tick(0.0)
    for one in desk.sent:
        one.answer(200)

    desk.obey(Configure(settings=EdgeSettings(trunks=(TRUNK,))))
    desk.board.tick(1.0)

    assert len(desk.sent) == 3
    withdrawn = desk.sent[-1]
    assert (withdrawn.request.target, first(withdrawn.request.headers, "expires")) == (
        ("192.0.2.41", 5060),
        "0",
    )
    withdrawn.answer(200, headers=(("expires", "0"),))
    assert len(desk.of_kind(TrunkRegistered)) == 2


def test_stop_hangs_up_and_withdraws() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.board.tick(0.0)
    desk.sent[0].answer(200)
    desk.connect()

    desk.obey(Serve())
    desk.obey(Stop())

    assert desk.methods == ["REGISTER", "BYE", "REGISTER"]


def dial(dialog: str, trunk: str = "carrier", caller: str = "") -> Dial:
    return Dial(
        dialog=DialogId(dialog),
        trunk=trunk,
        number=Private("+49 40/1"),
        caller=Private(caller),
        sdp=Private(OFFER),
    )


def test_number_is_escaped_and_the_account_calls() -> None:
    desk = Desk(trunks=(TRUNK,))

    desk.obey(dial("d"))

    request = desk.sent[0].request
    assert request.uri == "sip:+49%2040/1@192.0.2.40"
    assert request.from_.startswith("<sip:acct@192.0.2.40>;tag=")
    assert request.target == ("192.0.2.40", 5060)


def test_more_calls_than_allowed_fail_with_503() -> None:
    desk = Desk(trunks=(TRUNK,), max_dialogs=1)
    desk.obey(dial("first"))

    desk.obey(dial("second"))

    assert [(one.dialog, one.status) for one in desk.of_kind(Failed)] == [("second", 503)]


def test_requests_of_who_is_dialled_find_no_dialog_yet() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.obey(dial("d"))
    request = desk.sent[0].request
    tag = request.from_.partition(";tag=")[2]
    desk.sent[0].answer(100)
    headers = (("from", request.to), ("to", request.from_))

    early, _ = desk.receive("UPDATE", headers, to_tag=tag)

    assert early.statuses == [481]


def test_final_answer_after_the_end_is_ignored() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.obey(dial("d"))
    invite = desk.sent[0]
    invite.answer(486)

    invite.answer(200, sdp=ANSWER)

    assert [one.status for one in desk.of_kind(Failed)] == [486]
    assert desk.methods == ["INVITE"]


def test_cancelled_call_that_is_answered_from_nowhere_just_ends() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.obey(dial("d"))
    desk.obey(HangUp(dialog=DialogId("d")))
    desk.obey(HangUp(dialog=DialogId("d")))
    assert desk.sent[0].is_cancelled
    desk.sent[0].answer(180)

    desk.sent[0].answer(200, headers=(("contact", "?"),))

    assert desk.of_kind(Failed) == []
    assert desk.board.statistics().dialogs == 0


def test_session_timer_of_who_answered_is_kept() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.obey(dial("d"))
    desk.sent[0].answer(200, headers=(("session-expires", "20;refresher=uas"),), sdp=ANSWER)

    desk.board.tick(59.0)
    assert desk.of_kind(HungUp) == []
    desk.board.tick(60.0)  # the least is 90, of which 30 are kept for the way

    assert ending_of(desk) is Ending.EXPIRED


def test_transfer_is_asked_and_reported_one_at_a_time() -> None:
    desk = Desk()
    incoming = desk.connect()
    refer = Refer(dialog=incoming.dialog, number=Private("5"))
    desk.obey(refer)
    desk.obey(refer)
    desk.obey(ReportTransfer(dialog=incoming.dialog, status=200))
    assert desk.board.statistics().commands_dropped == 2

    desk.sent[0].answer(202)
    desk.sent[0].answer(500)

    assert [one.status for one in desk.of_kind(TransferProgress)] == [500]
    assert desk.methods == ["REFER"]


def test_transfer_that_is_refused_after_the_end_is_not_told() -> None:
    desk = Desk()
    incoming = desk.connect()
    desk.obey(Refer(dialog=incoming.dialog, number=Private("5")))
    desk.receive("BYE", cseq=2, to_tag="ours")

    desk.sent[0].answer(481)

    assert desk.of_kind(TransferProgress) == []


def test_dialog_goes_on_in_another_switchboard() -> None:
    before, after = Desk(), Desk()
    before.connect()
    state = before.of_kind(DialogState)[-1]

    after.obey(RestoreDialog(state=state))
    after.obey(HangUp(dialog=state.dialog))

    assert [one.dialog for one in after.of_kind(DialogRestored)] == [state.dialog]
    bye = after.sent[0].request
    assert (bye.method, bye.call_id, bye.to) == ("BYE", "call", "<sip:alice@192.0.2.9>;tag=theirs")
    assert bye.cseq == state.our_cseq + RESTORED_CSEQ_STEP + 1
    assert bye.target == ("192.0.2.9", 5060)


def test_dialog_whose_address_cannot_be_read_is_not_restored() -> None:
    before, after = Desk(), Desk()
    before.connect()
    state = before.of_kind(DialogState)[-1]

    broken = {name: getattr(state, name) for name in state.__struct_fields__}
    after.obey(RestoreDialog(state=DialogState(**{**broken, "their_target": Private("?")})))

    assert after.said == []


def test_numbers_and_bodies_are_never_shown() -> None:
    desk = Desk(trunks=(TRUNK,))
    desk.connect()
    desk.obey(dial("d", caller="+4989"))
    desk.sent[0].answer(200, sdp=ANSWER)

    shown = " ".join(map(repr, [*desk.said, *(one.request for one in desk.sent), TRUNK]))

    for secret in ("+4989", "alice", "m=audio", "pw", "+49%20"):
        assert secret not in shown
