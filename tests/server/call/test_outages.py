"""A call whose agent loses its media link: what is sent again, and how long it is waited for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from telcoflow_sdk.protocol.codes import CloseCode, EndReason
from telcoflow_sdk.protocol.positions import build_audio
from telcoflow_sdk.protocol.sequence import MAX_KEPT
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.resumption import SILENT_TICKS
from telcoflow_server.legs.agent import STALLED_TICKS
from tests.support.exchange import MemoryPhone, Node
from tests.support.positions import FRAME, GRACE_TICKS, Scene, ruler


@pytest.fixture
def scene() -> Scene:
    return Scene()


# --- a link is lost, and another one comes -------------------------------------------------


def test_after_an_outage_everything_goes_on_at_the_exact_sample(scene: Scene) -> None:
    scene.say(FRAME * 50, end=True)
    scene.run(10)

    scene.agent.lose()
    scene.run(30)
    scene.agent.connect()
    scene.run(100)

    assert scene.heard == ruler(FRAME * 50).tolist()
    said = scene.heard_by_agent()
    assert said == ruler(len(said)).tolist()
    assert scene.agent.holes == []
    assert scene.agent.discontinuities == 0
    assert scene.agent.welcomes[-1]["continues"] == [scene.agent.welcomes[-1]["continues"][0]]


def test_what_was_under_way_both_ways_is_sent_again(scene: Scene) -> None:
    scene.say(FRAME * 20, end=True)
    scene.run(3)
    scene.agent.link.is_lost = True  # nothing arrives, and nobody has noticed yet
    mark = scene.agent.command("agent.mark", name="m")
    scene.run(5)

    scene.agent.connect()
    scene.run(40)

    assert scene.result(mark)["success"]
    assert [event["name"] for event in scene.agent.events("mark.played")] == ["m"]
    assert scene.heard == ruler(FRAME * 20).tolist()
    said = scene.heard_by_agent()
    assert said == ruler(len(said)).tolist()
    assert scene.agent.holes == []


def test_isolated_channels_go_on_at_their_own_samples() -> None:
    scene = Scene(audio_mode="isolated")
    scene.run(10)

    scene.agent.lose()
    scene.run(10)
    scene.agent.connect()
    scene.run(10)

    assert scene.agent.holes == []
    assert len(scene.agent.welcomes[-1]["continues"]) == 3
    for channel in (0, 1):
        said = scene.heard_by_agent(channel)
        assert said == ruler(len(said)).tolist()


def test_a_new_link_closes_the_one_before_and_what_still_comes_over_it_is_ignored(
    scene: Scene,
) -> None:
    old, old_reception = scene.agent.link, scene.agent.reception
    scene.say(FRAME * 2)
    scene.run(5)
    received = scene.agent.positions[-1].received

    scene.agent.connect()
    stale = {"command_id": "stale", "command": "call.close"}
    old_reception.text(msgspec.json.encode({"type": "command", "seq": 99, "data": stale}), 0.0)
    old_reception.binary(build_audio(0, 0, 0, 0, received, b"\1\1" * FRAME))
    old_reception.binary(b"nonsense")
    old_reception.lost(CloseCode.SUPERSEDED)
    scene.run(5)

    assert old.closed_with is CloseCode.SUPERSEDED
    assert scene.call.state is CallState.ANSWERED
    assert scene.agent.positions[-1].received == received
    assert scene.agent.response("stale") is None


def test_an_event_that_happens_during_an_outage_is_told_afterwards(scene: Scene) -> None:
    scene.say(FRAME * 4, end=True)
    scene.agent.command("agent.mark", name="end")
    scene.run(3)

    scene.agent.lose()
    scene.run(10)
    assert scene.agent.events("mark.played") == []
    scene.agent.connect()

    assert [event["name"] for event in scene.agent.events("mark.played")] == ["end"]


def test_an_interruption_during_an_outage_holds_from_the_new_link_on(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.run(10)
    scene.agent.lose()
    scene.agent.interrupt()
    scene.say(FRAME * 3, end=True)
    scene.run(1)
    played = len(scene.heard)

    scene.agent.connect()
    scene.run(20)

    assert scene.agent.positions[-1].generation == 1
    assert scene.heard[played:][-FRAME * 3 :] == ruler(FRAME * 3).tolist()


def test_without_a_link_what_is_here_is_played_and_then_silence(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.run(10)
    received = scene.agent.positions[-1].received

    scene.agent.lose()
    scene.run(20)

    assert scene.call.state is CallState.ANSWERED
    assert len(scene.heard) >= received


def test_an_agent_that_is_away_longer_than_sound_is_kept_is_told_of_the_hole() -> None:
    """As long as the grace; here it is behind already when the link breaks."""
    scene = Scene()
    scene.run(10)
    scene.agent.link.unsent = 1_000_000
    scene.run(100)
    scene.agent.connect()

    scene.run(1)

    [(channel, before, after)] = scene.agent.holes
    assert (channel, scene.agent.discontinuities) == (0, 1)
    assert after - before > FRAME * 50


# --- and does not come ---------------------------------------------------------------------


def grace_over_while_it_rings() -> Scene:
    return Scene(is_answered=False)


def grace_over_in_a_call() -> Scene:
    return Scene()


def grace_over_while_closing() -> Scene:
    scene = Scene()
    scene.say(FRAME)
    scene.agent.command("call.close", at=(0, FRAME * 1000))
    return scene


def grace_over_while_ringing_somebody() -> Scene:
    scene = Scene()
    scene.agent.command("call.connect")
    scene.run(5)
    return scene


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (grace_over_while_it_rings, EndReason.AGENT_LOST),
        (grace_over_in_a_call, EndReason.AGENT_LOST),
        (grace_over_while_ringing_somebody, EndReason.AGENT_LOST),
    ],
)
def test_after_the_grace_the_agent_has_left_for_good(prepare: Any, reason: EndReason) -> None:
    scene = prepare()

    scene.agent.lose()
    scene.run(GRACE_TICKS - 1)
    assert not scene.call.is_over
    scene.run(1)

    assert scene.call.end_reason is reason
    assert scene.caller.end is not None


def test_after_the_grace_two_people_go_on_talking(scene: Scene) -> None:
    scene.connected()

    scene.agent.lose()
    scene.run(GRACE_TICKS)
    scene.run(10)

    assert scene.call.state is CallState.CONNECTED
    assert scene.call.seat.was_left
    assert "session.closed" in [message["type"] for message in scene.node.client_link.take()]


def test_a_hello_after_the_grace_is_refused(scene: Scene) -> None:
    """Its link was let in before the grace was over, and said hello after it."""
    scene.connected()
    scene.agent.lose()
    scene.run(GRACE_TICKS - 1)
    welcomes = len(scene.agent.welcomes)
    link = scene.agent.link
    scene.run(1)
    scene.agent.link, link.is_lost = link, False

    with pytest.raises(Exception, match="the call has ended") as broken:
        scene.agent.connect()

    assert getattr(broken.value, "code", None) is CloseCode.CALL_ENDED
    assert len(scene.agent.welcomes) == welcomes


def test_a_closing_call_does_not_wait_for_audio_that_cannot_come() -> None:
    scene = grace_over_while_closing()

    scene.agent.lose()
    scene.run(10)

    assert scene.call.end_reason is EndReason.AGENT_CLOSED


def test_a_goodbye_has_no_grace(scene: Scene) -> None:
    scene.agent.leave()

    assert scene.call.end_reason is EndReason.AGENT_LOST


def test_a_goodbye_of_a_connected_call_leaves_the_two_talking(scene: Scene) -> None:
    scene.connected()

    scene.agent.leave()

    assert scene.call.state is CallState.CONNECTED
    assert scene.call.seat.present is None


def test_a_client_that_is_silent_for_five_seconds_has_lost_its_link(scene: Scene) -> None:
    scene.agent.acknowledges = False
    scene.agent.acknowledge()

    scene.run(SILENT_TICKS - 1)
    codes = [scene.agent.link.closed_with]
    scene.run(1)
    codes.append(scene.agent.link.closed_with)

    assert codes == [None, CloseCode.SLOW_READER]
    assert scene.call.state is CallState.ANSWERED
    scene.run(GRACE_TICKS)
    assert scene.call.end_reason is EndReason.AGENT_LOST


def test_a_client_that_does_not_read_has_lost_its_link_and_may_come_back(scene: Scene) -> None:
    scene.agent.link.unsent = 1_000_000
    scene.run(STALLED_TICKS + 1)
    assert scene.agent.link.closed_with is CloseCode.SLOW_READER

    scene.agent.connect()
    scene.run(5)

    assert scene.call.state is CallState.ANSWERED
    assert scene.agent.discontinuities == 1


def test_a_client_that_acknowledges_no_text_is_let_go(scene: Scene) -> None:
    scene.agent.acknowledges = False

    for number in range(MAX_KEPT + 2):
        scene.agent.command("agent.pause" if number % 2 else "agent.resume", placed=False)
        if number % 500 == 0:
            scene.run(1)  # its own messages are seen
    scene.run(1)

    assert scene.agent.link.closed_with is CloseCode.BAD_MESSAGES
    assert scene.call.end_reason is EndReason.AGENT_LOST


# --- secrets -----------------------------------------------------------------------------


def test_the_secret_of_each_welcome_opens_the_next_link(scene: Scene) -> None:
    seat = scene.call.seat
    first = scene.agent.welcomes[-1]["secret"]
    assert seat.is_opened_by(first)
    assert not seat.is_opened_by("token")

    scene.agent.lose()
    scene.agent.connect()
    second = scene.agent.welcomes[-1]["secret"]
    opened = [seat.is_opened_by(first), seat.is_opened_by(second)]
    scene.agent.acknowledge()
    opened += [seat.is_opened_by(first), seat.is_opened_by(second)]

    assert opened == [True, True, False, True]


def test_all_secrets_are_void_when_the_agent_has_left(scene: Scene) -> None:
    scene.connected()
    secret = scene.agent.welcomes[-1]["secret"]
    scene.agent.leave()

    assert not scene.call.seat.is_opened_by(secret)


def test_the_token_opens_a_second_link_until_the_first_word() -> None:
    scene = Scene(is_answered=False)
    seat = scene.call.seat
    awaited = [seat.awaits_first_word]

    scene.agent.command("call.answer", placed=False)
    awaited.append(seat.awaits_first_word)

    assert awaited == [True, False]


def test_no_secret_opens_a_call_of_v1() -> None:
    node = Node()
    call, _ = node.answered_call(MemoryPhone())

    assert not call.seat.is_opened_by("")
    assert not call.seat.awaits_first_word
