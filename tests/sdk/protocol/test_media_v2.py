from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk.audio.arrivals import Arrival
from telcoflow_sdk.audio.positioned import PositionedOutbox
from telcoflow_sdk.exceptions import (
    BufferClosedError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
)
from telcoflow_sdk.protocol.codes import CloseCode
from telcoflow_sdk.protocol.commands import (
    COMMAND_GRACE_S,
    COMMAND_TIMEOUT_MS,
    CommandName,
    DialProgress,
    GapCause,
)
from telcoflow_sdk.protocol.media import MediaEngine
from telcoflow_sdk.protocol.media_events import (
    Answered,
    CommandSettled,
    EndCause,
    Ended,
    GapHeard,
    LinkInterrupted,
    LinkResumed,
    LinkViolated,
    MarkReached,
    MediaOutput,
    Progressed,
)
from telcoflow_sdk.protocol.messages import InterruptResult
from telcoflow_sdk.protocol.positions import build_audio
from telcoflow_sdk.protocol.resuming import ResumingLink, Resumption
from telcoflow_sdk.protocol.sequence import MAX_KEPT
from telcoflow_sdk.protocol.states import TRANSITIONS, CallState
from tests.support.engines import (
    RATE_HZ,
    RING_TIME_S,
    MediaDialogue,
    PositionedDialogue,
    ring_time_s,
)

PATIENCE_S = COMMAND_TIMEOUT_MS / 1000 + COMMAND_GRACE_S


def answered() -> PositionedDialogue:
    dialogue = PositionedDialogue()
    dialogue.succeeds(dialogue.sends(CommandName.ANSWER))
    dialogue.events()
    return dialogue


def connected() -> PositionedDialogue:
    dialogue = answered()
    dialogue.connects()
    return dialogue


def place_of(dialogue: PositionedDialogue, name: CommandName) -> dict[str, int] | None:
    """Send a command; return the place it names."""
    dialogue.engine.send_command(name, dialogue.now, ring_time_s=ring_time_s(name))
    (message,) = dialogue.said()
    place: dict[str, int] | None = message["data"].get("position")
    return place


def test_a_command_before_the_first_link_waits_for_its_welcome() -> None:
    dialogue = MediaDialogue()
    dialogue.engine.send_command(CommandName.ANSWER, dialogue.now)
    resuming = ResumingLink(PositionedOutbox(dialogue.outbox.intake), 1, RATE_HZ)
    dialogue.engine.agree_on_v2(resuming)
    dialogue.engine.link_opened()
    before = [message["type"] for message in dialogue.said()]
    data = {"epoch": 1, "seen": 0, "generation": 0, "received": 0, "continues": [0]}
    dialogue.hears("welcome", **data, secret="s", grace_ms=1)

    (command,) = dialogue.said()
    assert before == ["hello"]
    assert (command["seq"], command["data"]["command"]) == (1, "call.answer")


@pytest.mark.parametrize("state", [CallState.PENDING, CallState.ANSWERED, CallState.CONNECTED])
@pytest.mark.parametrize("name", list(CommandName))
def test_commands_follow_the_table(state: CallState, name: CommandName) -> None:
    make = {CallState.PENDING: PositionedDialogue, CallState.ANSWERED: answered}
    dialogue = make.get(state, connected)()

    if (state, name) not in TRANSITIONS:
        with pytest.raises(WSSCallCommandError) as caught:
            dialogue.engine.send_command(name, dialogue.now)
        assert caught.value.error_code == "INVALID_STATE"
        assert dialogue.said() == []
        return
    dialogue.succeeds(dialogue.sends(name))

    assert dialogue.engine.state is TRANSITIONS[state, name]


@pytest.mark.parametrize(
    ("name", "has_place"),
    [
        (CommandName.WHISPER, True),
        (CommandName.BARGE, True),
        (CommandName.SPY, True),
        (CommandName.MARK, True),
        (CommandName.CLOSE, True),
        (CommandName.DISCONNECT, True),
        (CommandName.PAUSE, False),
        (CommandName.RESUME, False),
    ],
)
def test_a_command_names_its_place_behind_all_that_is_queued(
    name: CommandName, has_place: bool
) -> None:
    dialogue = connected()
    dialogue.has(0)
    dialogue.positioned.write(bytes(20_000))
    dialogue.sends_audio()

    place = place_of(dialogue, name)

    assert place == ({"generation": 0, "offset": 10_000} if has_place else None)


def test_a_change_of_mode_waits_for_no_audio() -> None:
    dialogue = connected()
    dialogue.positioned.write(bytes(960))

    dialogue.succeeds(dialogue.sends(CommandName.WHISPER))

    assert dialogue.settled().error is None
    assert dialogue.positioned.queued_bytes == 960


def test_a_mark_has_its_name() -> None:
    dialogue = answered()
    dialogue.engine.send_command(CommandName.MARK, dialogue.now, mark="sentence")

    (message,) = dialogue.said()

    assert message["data"]["data"] == {"name": "sentence"}


def test_connect_is_given_up_only_after_the_audio_in_front_of_it_and_the_ringing() -> None:
    """It rings when that is played; the client gave up after the ring time alone."""
    dialogue = answered()
    dialogue.positioned.write(bytes(96_000))
    dialogue.sends(CommandName.CONNECT)

    assert dialogue.engine.next_deadline() == dialogue.now + 2 + RING_TIME_S + COMMAND_GRACE_S


def test_an_interruption_begins_the_next_generation() -> None:
    dialogue = answered()
    dialogue.positioned.write(bytes(960))
    dialogue.positioned.clear()
    dialogue.positioned.write(bytes(100))

    assert place_of(dialogue, CommandName.INTERRUPT) == {"generation": 1, "offset": 0}
    assert place_of(dialogue, CommandName.MARK) == {"generation": 1, "offset": 50}


def interrupts(dialogue: PositionedDialogue, result: Any) -> InterruptResult | None:
    dialogue.has(0)
    dialogue.positioned.write(bytes(960))
    dialogue.sends_audio()
    dialogue.positioned.clear()
    command_id = dialogue.sends(CommandName.INTERRUPT)
    dialogue.positioned.clear()  # what another one drops does not count
    dialogue.succeeds(command_id, result=result)
    return dialogue.settled().result


@pytest.mark.parametrize(
    ("result", "understood"),
    [
        # The server dropped 100 samples; the client knows that 80 more were on their way.
        (
            {"played": 300, "dropped_bytes": 200, "dropped_ms": 4.2, "heard_ms": 12.5},
            InterruptResult(dropped_bytes=360, heard_ms=12.5, played=300),
        ),
        (
            {"played": 500, "dropped_bytes": 0, "heard_ms": 0},
            InterruptResult(dropped_bytes=0, heard_ms=0, played=500),
        ),
        ({"dropped_bytes": 200}, InterruptResult(dropped_bytes=200)),
        ("cleared", InterruptResult()),
    ],
)
def test_an_interruption_tells_what_was_dropped_here_there_and_on_the_way(
    result: Any, understood: InterruptResult
) -> None:
    assert interrupts(answered(), result) == understood


def test_a_refused_interruption_leaves_nothing_behind() -> None:
    dialogue = answered()
    dialogue.positioned.clear()

    dialogue.fails(dialogue.sends(CommandName.INTERRUPT), "INTERNAL_ERROR")

    assert isinstance(dialogue.settled().error, WSSCallCommandError)
    assert dialogue.engine.next_deadline() is None


def test_a_message_that_comes_again_is_ignored() -> None:
    dialogue = answered()
    said = b'{"type":"call_event","seq":2,"data":{"event":"mark.played","name":"a","at_ms":1}}'

    for _ in range(2):
        dialogue.engine.receive_message(said, dialogue.now)

    assert dialogue.events() == [MarkReached("a", 1.0)]
    assert dialogue.engine.ignored_messages == 0


def test_a_message_without_a_number_is_counted_and_ignored() -> None:
    dialogue = answered()

    MediaDialogue.hears(dialogue, "call_event", event="call.terminated")
    MediaDialogue.hears(dialogue, "buffer_request", requested_bytes=960)

    assert dialogue.events() == []
    assert dialogue.engine.ignored_messages == 2


def test_a_request_of_v1_is_no_credit() -> None:
    dialogue = answered()

    dialogue.hears("buffer_request", requested_bytes=960)

    assert dialogue.events() == []
    assert dialogue.outbox.statistics().credit_bytes == 0


def test_a_message_that_was_left_out_ends_the_call_here() -> None:
    dialogue = answered()
    command_id = dialogue.sends(CommandName.MARK)
    message = b'{"type":"call_event","seq":9,"data":{"event":"mark.cleared"}}'

    dialogue.engine.receive_message(message, dialogue.now)

    violated, settled, ended = dialogue.events()
    assert violated == LinkViolated(CloseCode.BAD_SEQUENCE)
    assert isinstance(settled, CommandSettled)
    assert settled.command_id == command_id
    assert ended == Ended(EndCause.LINK_LOST)


def test_a_welcome_that_cannot_be_ends_the_call_here() -> None:
    dialogue = answered()
    dialogue.engine.link_lost(dialogue.now)
    dialogue.opens()
    dialogue.events()

    assert dialogue.welcomes(received=1) == []

    assert dialogue.events() == [
        LinkViolated(CloseCode.BAD_POSITION),
        Ended(EndCause.LINK_LOST),
    ]


def test_a_welcome_on_protocol_v1_is_ignored() -> None:
    dialogue = MediaDialogue()
    data = {"epoch": 1, "seen": 0, "generation": 0, "received": 0, "continues": [0]}

    dialogue.hears("welcome", **data, secret="s", grace_ms=1)

    assert dialogue.events() == []


def test_audio_and_positions_are_received_on_v2_only() -> None:
    audio = build_audio(0, 0, 0, 0, 100, b"abcd")

    assert MediaDialogue().engine.receive_binary(audio, 0.0, 0.0) is None
    assert answered().engine.receive_binary(audio, 0.0, 0.0) == Arrival(0, 100, b"abcd")


@pytest.mark.parametrize("message", [b"", b"\0ab", b"\xf0ab", b"\xf1" + bytes(15)])
def test_what_cannot_be_read_is_counted_and_ignored(message: bytes) -> None:
    dialogue = answered()

    assert dialogue.engine.receive_binary(message, dialogue.now, 0.0) is None
    assert dialogue.engine.ignored_messages == 1
    assert dialogue.events() == []


def test_after_the_end_nothing_is_received() -> None:
    dialogue = answered()
    dialogue.engine.end(EndCause.ABANDONED)

    audio = build_audio(0, 0, 0, 0, 100, b"abcd")
    assert dialogue.engine.receive_binary(audio, dialogue.now, 0.0) is None


def test_marks_and_gaps_are_told() -> None:
    dialogue = answered()

    dialogue.hears("call_event", event="mark.played", name="a", at_ms=12.5)
    dialogue.hears("call_event", event="mark.cleared", name="b")
    dialogue.hears("call_event", event="media.gap", at_ms=1.0, ms=40.0, cause="network_late")

    assert dialogue.events() == [
        MarkReached("a", 12.5),
        MarkReached("b", None),
        GapHeard(1.0, 40.0, GapCause.NETWORK_LATE),
    ]


def test_a_lost_link_is_told_once_and_ends_nothing() -> None:
    dialogue = answered()
    dialogue.sends(CommandName.MARK)

    dialogue.engine.link_lost(dialogue.now)
    dialogue.engine.link_lost(dialogue.now)
    dialogue.opens()
    dialogue.engine.link_lost(dialogue.now)

    assert dialogue.events() == [LinkInterrupted()]
    assert dialogue.engine.state is CallState.ANSWERED


def test_a_goodbye_of_the_servers_ends_the_call() -> None:
    dialogue = answered()

    dialogue.engine.link_lost(dialogue.now, is_final=True)

    assert dialogue.events() == [Ended(EndCause.LINK_LOST)]
    with pytest.raises(BufferClosedError):
        dialogue.positioned.write(b"ab")


def test_what_is_said_without_a_link_is_said_over_the_next() -> None:
    dialogue = answered()
    dialogue.engine.link_lost(dialogue.now)
    dialogue.engine.send_command(CommandName.MARK, dialogue.now, mark="a")
    assert dialogue.said() == []
    dialogue.opens()
    dialogue.engine.send_command(CommandName.MARK, dialogue.now, mark="b")
    assert dialogue.said() == []

    said = dialogue.welcomes(seen=1)

    assert [(one["seq"], one["data"]["data"]["name"]) for one in said] == [(2, "a"), (3, "b")]


def test_a_command_in_flight_when_the_link_drops_is_sent_again_with_its_number() -> None:
    dialogue = answered()
    command_id = dialogue.sends(CommandName.MARK)
    dialogue.engine.link_lost(dialogue.now)
    dialogue.opens()

    (again,) = dialogue.welcomes(seen=1)
    dialogue.succeeds(command_id)

    assert (again["seq"], again["data"]["command_id"]) == (2, command_id)
    assert CommandSettled(command_id, None, None) in dialogue.events()


def test_an_answer_that_was_lost_with_the_link_comes_again_and_counts_once() -> None:
    dialogue = answered()
    command_id = dialogue.sends(CommandName.MARK)
    dialogue.succeeds(command_id)
    dialogue.events()
    dialogue.engine.link_lost(dialogue.now)
    hello = dialogue.opens()
    dialogue.welcomes(seen=2)

    response = {"command_id": command_id, "success": True}
    message = {"type": "command_response", "seq": 2, "data": response}
    dialogue.engine.receive_message(json.dumps(message).encode(), dialogue.now)

    assert hello["seen"] == 2
    assert not any(isinstance(one, CommandSettled) for one in dialogue.events())


def test_a_resume_tells_what_the_outage_cost() -> None:
    dialogue = answered()
    dialogue.engine.link_lost(dialogue.now)
    dialogue.passes(1.5)
    dialogue.opens()

    dialogue.welcomes(continues=[480])

    assert dialogue.events() == [LinkInterrupted(), LinkResumed(Resumption(1500.0, 20.0))]


def test_a_call_whose_link_is_not_back_in_time_is_over() -> None:
    dialogue = answered()
    dialogue.engine.link_lost(dialogue.now)
    dialogue.events()
    assert dialogue.engine.next_deadline() == dialogue.now + 10
    dialogue.passes(9.9)
    assert dialogue.events() == []

    dialogue.passes(0.2)

    assert dialogue.events() == [Ended(EndCause.LINK_LOST)]
    assert dialogue.engine.next_deadline() is None


def test_a_command_without_an_answer_times_out_during_an_outage_too() -> None:
    dialogue = PositionedDialogue()
    dialogue.sends(CommandName.ANSWER)
    dialogue.passes(PATIENCE_S - 1)
    dialogue.engine.link_lost(dialogue.now)

    dialogue.passes(1)

    interrupted, settled = dialogue.events()
    assert interrupted == LinkInterrupted()
    assert isinstance(settled, CommandSettled)
    assert isinstance(settled.error, WSSCallCommandTimeoutError)


def test_a_server_that_confirms_nothing_is_sent_nothing_more() -> None:
    dialogue = answered()
    for _ in range(MAX_KEPT - 1):  # one is the answer
        dialogue.engine.send_command(CommandName.PAUSE, dialogue.now)
    dialogue.said()
    deadline = dialogue.engine.next_deadline()
    dialogue.passes(PATIENCE_S)
    dialogue.events()

    with pytest.raises(WSSCallCommandTimeoutError):
        dialogue.engine.send_command(CommandName.PAUSE, dialogue.now)

    assert deadline is not None
    assert dialogue.engine.next_deadline() is None
    dialogue.has(0, seen=2)
    dialogue.engine.send_command(CommandName.PAUSE, dialogue.now)


def test_a_call_that_we_place_is_told_how_far_it_is() -> None:
    dialogue = PositionedDialogue(ring_time_s=30)

    dialogue.hears("call_event", event="call.progress", state="ringing")
    dialogue.hears("call_event", event="call.progress", state="answered")

    assert dialogue.events() == [
        Progressed(DialProgress.RINGING),
        Progressed(DialProgress.ANSWERED),
        Answered(),
    ]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("command"), st.sampled_from(list(CommandName))),
        st.tuples(st.sampled_from(["succeed", "fail"]), st.integers(1, 12)),
        st.tuples(
            st.sampled_from(["terminate", "lose", "goodbye", "open", "welcome", "wait", "clear"]),
            st.none(),
        ),
    ),
    max_size=40,
)


def send(engine: MediaEngine, name: CommandName, now: float) -> str | None:
    try:
        return engine.send_command(name, now, ring_time_s=ring_time_s(name))
    except WSSCallClosedError:
        assert engine.state is CallState.DISCONNECTED
    except WSSCallCommandError as error:
        in_progress = "call.connect is in progress" in error.error_message
        assert (engine.state, name) not in TRANSITIONS or in_progress
    return None


@given(steps=STEPS)
def test_any_script_settles_every_command_once_and_ends_once(
    steps: list[tuple[str, CommandName | int | None]],
) -> None:
    dialogue = PositionedDialogue()
    sent: list[str] = []
    events: list[MediaOutput] = []
    is_open = is_welcome = True
    for step, argument in steps:
        if isinstance(argument, CommandName):
            command_id = send(dialogue.engine, argument, dialogue.now)
            sent += [command_id] if command_id else []
        elif step in ("succeed", "fail"):
            if is_welcome:
                answer = dialogue.succeeds if step == "succeed" else dialogue.fails
                answer(f"command-{argument}", *(["INTERNAL_ERROR"] if step == "fail" else []))
        elif step == "terminate" and is_welcome:
            dialogue.hears("call_event", event="call.terminated")
        elif step in ("lose", "goodbye"):
            is_open = is_welcome = False
            dialogue.engine.link_lost(dialogue.now, is_final=step == "goodbye")
        elif step == "open" and not is_open and dialogue.engine.state is not CallState.DISCONNECTED:
            is_open = True
            dialogue.opens()
        elif step == "welcome" and is_open and not is_welcome:
            is_welcome = True
            dialogue.welcomes(generation=dialogue.positioned.generation)
        elif step == "clear":
            dialogue.positioned.clear()
        elif step == "wait":
            dialogue.passes(3)
        said = dialogue.said()
        assert is_welcome or not said
        events += dialogue.events()
    dialogue.engine.link_lost(dialogue.now, is_final=True)
    events += dialogue.events()

    settled = [event.command_id for event in events if isinstance(event, CommandSettled)]
    assert sorted(settled) == sorted(sent)
    interrupted = sum(isinstance(event, LinkInterrupted) for event in events)
    resumed = sum(isinstance(event, LinkResumed) for event in events)
    assert interrupted - 1 <= resumed <= interrupted
    assert sum(isinstance(event, Ended) for event in events) == 1
    assert isinstance(events[-1], Ended)
