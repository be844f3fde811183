"""What takes time, in none: sessions, changes of the media, and answers that never come."""

from __future__ import annotations

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.commands import (
    Accept,
    AnswerReOffer,
    HangUp,
    RefuseReOffer,
    ReOffer,
)
from telcoflow_server.sip.events import (
    Ending,
    Established,
    HungUp,
    IncomingCall,
    OfferAnswered,
    OfferRefused,
    ReOffered,
)
from telcoflow_server.sip.message import Body, first
from tests.server.sip.fake_stack import Desk
from tests.support.sip_phone import ANSWER, OFFER

TIMER = (("session-expires", "180;refresher=uac"), ("supported", "timer"))
OURS = (("session-expires", "180;refresher=uas"), ("supported", "timer"))


def ending_of(desk: Desk) -> Ending:
    (ended,) = desk.of_kind(HungUp)
    return ended.ending


def test_session_that_nobody_refreshes_is_hung_up_somewhat_before_its_end() -> None:
    desk = Desk()
    desk.connect(TIMER)

    desk.board.tick(147.9)
    assert desk.methods == []
    desk.board.tick(148.0)

    assert desk.methods == ["BYE"]
    assert ending_of(desk) is Ending.EXPIRED


def test_refresh_by_the_far_end_starts_the_session_anew() -> None:
    desk = Desk()
    desk.connect(TIMER)

    refreshed, _ = desk.receive("UPDATE", TIMER, cseq=2, to_tag="ours", now_s=100.0)
    desk.board.tick(200.0)

    assert refreshed.header("session-expires") == "180;refresher=uac"
    assert desk.of_kind(HungUp) == []


def test_refresh_without_a_timer_ends_it() -> None:
    desk = Desk()
    desk.connect(TIMER)

    desk.receive("UPDATE", cseq=2, to_tag="ours", now_s=100.0)
    desk.board.tick(10_000.0)

    assert desk.of_kind(HungUp) == []


def test_session_is_refreshed_by_us_at_half_time_with_what_we_last_described() -> None:
    desk = Desk()
    desk.connect(OURS)
    desk.board.tick(90.0)
    (refresh,) = desk.sent

    refresh.answer(200, 90.0, (("session-expires", "180;refresher=uac"),), OFFER)
    desk.board.tick(179.0)
    assert desk.methods == ["INVITE"]
    desk.board.tick(180.0)

    assert refresh.request.body == Body(ANSWER)
    assert first(refresh.request.headers, "session-expires") == "180;refresher=uac"
    assert desk.methods == ["INVITE", "INVITE"]
    assert desk.of_kind(OfferAnswered) == []


def test_refresh_that_meets_theirs_is_tried_again() -> None:
    desk = Desk()
    desk.connect(OURS)
    desk.board.tick(90.0)

    desk.sent[0].answer(491, 90.0)
    desk.board.tick(93.9)
    assert len(desk.sent) == 1
    desk.board.tick(94.0)

    assert len(desk.sent) == 2


def test_refresh_waits_while_our_change_is_being_asked_for() -> None:
    desk = Desk()
    incoming = desk.connect(OURS)
    desk.obey(ReOffer(dialog=incoming.dialog, sdp=Private(OFFER)), 89.0)

    desk.board.tick(90.0)
    assert len(desk.sent) == 1
    desk.sent[0].answer(488, 91.0)
    desk.board.tick(94.0)

    assert [one.request.body for one in desk.sent] == [Body(OFFER), Body(ANSWER)]


def test_refresh_to_a_far_end_that_forgot_the_dialog_ends_it() -> None:
    desk = Desk()
    desk.connect(OURS)
    desk.board.tick(90.0)

    desk.sent[0].answer(481, 90.0)

    assert desk.methods == ["INVITE", "BYE"]
    assert ending_of(desk) is Ending.GONE


def test_phone_that_cannot_refresh_is_refreshed() -> None:
    desk = Desk()
    desk.connect((("session-expires", "180"),))

    desk.board.tick(90.0)

    assert desk.methods == ["INVITE"]


def test_answer_that_nobody_acknowledges_is_hung_up() -> None:
    desk = Desk()
    _, events = desk.receive("INVITE", body=Body(OFFER))
    assert events is not None
    (incoming,) = desk.of_kind(IncomingCall)
    desk.obey(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))

    events.unacknowledged(32.0)
    events.unacknowledged(32.0)

    assert desk.methods == ["BYE"]
    assert ending_of(desk) is Ending.NO_ACK


def test_unacknowledged_answer_of_a_call_we_left_is_hung_up_in_silence() -> None:
    desk = Desk()
    _, events = desk.receive("INVITE", body=Body(OFFER))
    assert events is not None
    (incoming,) = desk.of_kind(IncomingCall)
    desk.obey(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    desk.obey(HangUp(dialog=incoming.dialog))

    events.unacknowledged(32.0)

    assert desk.methods == ["BYE"]
    assert desk.of_kind(HungUp) == []


def test_bye_before_our_ack_ends_a_call_we_left() -> None:
    desk = Desk()
    _, events = desk.receive("INVITE", body=Body(OFFER))
    (incoming,) = desk.of_kind(IncomingCall)
    desk.obey(Accept(dialog=incoming.dialog, sdp=Private(ANSWER)))
    desk.obey(HangUp(dialog=incoming.dialog))

    bye, _ = desk.receive("BYE", cseq=2, to_tag="ours")

    assert bye.statuses == [200]
    assert desk.sent == []
    assert desk.of_kind(HungUp) == []
    assert events is not None
    events.acknowledged(None, 1.0)
    assert desk.of_kind(Established) == []


def test_bye_in_an_early_dialog_ends_it_like_a_cancel() -> None:
    desk = Desk()
    invite, _ = desk.receive("INVITE", body=Body(OFFER))

    bye, _ = desk.receive("BYE", cseq=2, to_tag="ours")

    assert (bye.statuses, invite.statuses) == ([200], [487])


def test_other_requests_before_the_ack_are_asked_to_wait() -> None:
    desk = Desk()
    desk.receive("INVITE", body=Body(OFFER))

    update, _ = desk.receive("UPDATE", cseq=2, to_tag="ours")

    assert (update.statuses, update.header("retry-after")) == ([500], "1")


def test_re_invite_that_nobody_acknowledges_ends_the_call() -> None:
    desk = Desk()
    incoming = desk.connect()
    _, events = desk.receive("INVITE", body=Body(OFFER + "a=x\r\n"), cseq=2, to_tag="ours")
    desk.obey(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    assert events is not None

    events.unacknowledged(32.0)
    events.unacknowledged(32.0)

    assert ending_of(desk) is Ending.NO_ACK


def test_re_invite_that_is_taken_back_needs_no_answer() -> None:
    desk = Desk()
    incoming = desk.connect()
    asked, events = desk.receive("INVITE", body=Body(OFFER + "a=x\r\n"), cseq=2, to_tag="ours")
    assert events is not None

    events.cancelled(1.0)
    desk.obey(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    desk.obey(RefuseReOffer(dialog=incoming.dialog))

    assert asked.statuses == []
    assert desk.board.statistics().commands_dropped == 2


def test_change_that_nobody_decides_on_is_refused_in_time() -> None:
    desk = Desk()
    incoming = desk.connect()
    asked, _ = desk.receive("UPDATE", body=Body(OFFER + "a=x\r\n"), cseq=2, to_tag="ours")

    desk.board.tick(19.9)
    assert asked.statuses == []
    desk.board.tick(20.0)

    assert asked.statuses == [504]
    desk.obey(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    assert desk.board.statistics().commands_dropped == 1


def test_re_offer_after_a_refused_one_is_never_taken_for_a_refresh() -> None:
    desk = Desk()
    incoming = desk.connect()
    for cseq in (2, 3):
        desk.receive("INVITE", body=Body(OFFER + "a=x\r\n"), cseq=cseq, to_tag="ours")
        desk.obey(RefuseReOffer(dialog=incoming.dialog))

    assert len(desk.of_kind(ReOffered)) == 2


def test_our_change_gives_way_to_theirs_and_is_asked_once() -> None:
    desk = Desk()
    incoming = desk.connect()
    desk.receive("INVITE", body=Body(OFFER + "a=x\r\n"), cseq=2, to_tag="ours")

    desk.obey(ReOffer(dialog=incoming.dialog, sdp=Private(OFFER)))
    desk.obey(AnswerReOffer(dialog=incoming.dialog, sdp=Private(ANSWER)))
    desk.obey(ReOffer(dialog=incoming.dialog, sdp=Private(OFFER)))
    desk.obey(ReOffer(dialog=incoming.dialog, sdp=Private(OFFER)))

    assert [one.status for one in desk.of_kind(OfferRefused)] == [491]
    assert desk.methods == ["INVITE"]
    assert desk.board.statistics().commands_dropped == 1


def test_answer_to_our_change_after_the_end_is_ignored() -> None:
    desk = Desk()
    incoming = desk.connect()
    desk.obey(ReOffer(dialog=incoming.dialog, sdp=Private(OFFER)))
    (change,) = desk.sent
    change.answer(180)
    desk.obey(HangUp(dialog=incoming.dialog))

    change.answer(200, sdp=ANSWER)

    assert desk.of_kind(OfferAnswered) == []


def test_session_of_a_re_invite_cannot_be_shorter_than_allowed() -> None:
    desk = Desk()
    desk.connect()

    refused, _ = desk.receive("UPDATE", (("session-expires", "30"),), cseq=2, to_tag="ours")

    assert (refused.statuses, refused.header("min-se")) == ([422], "90")
