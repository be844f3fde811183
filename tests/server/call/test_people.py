"""Keys, transfers and phones that change their rate: what a call does with its people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.commands import MAX_DTMF_DIGITS, TRANSFER_TIMEOUT_S
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.call.ports import CalleeProgress, PressedDigit
from telcoflow_server.media.places import MAX_PLACES
from tests.support.exchange import MemoryCallee, MemoryDialer, MemoryPhone, Node
from tests.support.positions import FRAME, Scene
from tests.support.tones import amplitudes, tone

KEY = PressedDigit("5", 120.04)
FRAME_8K = 160


@pytest.fixture
def scene() -> Scene:
    return Scene()


def digits_told(scene: Scene) -> list[tuple[str, int]]:
    return [(event["digit"], event["channel"]) for event in scene.agent.events("call.dtmf")]


# --- keys that people press --------------------------------------------------------------


def test_a_key_is_told_with_its_duration_its_moment_and_who_pressed_it(scene: Scene) -> None:
    scene.caller.press_key(KEY)
    scene.run(1)

    (event,) = scene.agent.events("call.dtmf")

    assert event == {
        "event": "call.dtmf",
        "digit": "5",
        "ms": 120.0,
        "at_ms": scene.call.tick * 20,
        "channel": 1,
    }


def test_keys_of_both_people_are_told_apart(scene: Scene) -> None:
    scene.connected()
    scene.callee.press_key(KEY)
    scene.caller.press_key(KEY)
    scene.caller.press_key(PressedDigit("#", 80.0))
    scene.run(1)

    assert digits_told(scene) == [("5", 1), ("#", 1), ("5", 2)]


def test_a_key_is_told_while_the_call_rings() -> None:
    scene = Scene(is_answered=False)
    scene.caller.press_key(KEY)
    scene.run(1)

    assert digits_told(scene) == [("5", 1)]


def test_a_key_pressed_before_hanging_up_is_told(scene: Scene) -> None:
    scene.caller.press_key(KEY)
    scene.caller.hang_up()
    scene.run(1)

    assert digits_told(scene) == [("5", 1)]
    assert scene.call.end_reason is EndReason.CALLER_HUNG_UP


def test_keys_that_nobody_is_told_of_are_not_kept(scene: Scene) -> None:
    scene.connected()
    scene.agent.command("call.close")
    scene.run(2)
    assert scene.call.state is CallState.CONNECTED

    scene.caller.press_key(KEY)
    scene.run(1)

    assert scene.caller.keys == []
    assert digits_told(scene) == []


# --- keys that the agent presses ---------------------------------------------------------


def test_digits_are_sent_where_they_stand_in_what_is_said(scene: Scene) -> None:
    scene.say(FRAME * 5)
    command = scene.agent.command("call.send_dtmf", digits="12#")
    scene.say(FRAME * 5, end=True)

    pressed_after = []
    for _ in range(12):
        scene.run(1)
        if scene.caller.digits:
            pressed_after.append(len(scene.heard))

    assert scene.result(command)["success"]
    assert scene.caller.digits == "12#"
    assert pressed_after[0] == FRAME * 5


def test_digits_of_an_interrupted_utterance_are_not_sent(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.agent.command("call.send_dtmf", digits="1")
    scene.run(5)

    scene.agent.interrupt()
    scene.run(60)

    assert scene.caller.digits == ""


@pytest.mark.parametrize(
    ("mode", "heard_by"),
    [("agent.barge", "both"), ("agent.whisper", "callee"), ("agent.spy", "nobody")],
)
def test_digits_are_heard_by_those_who_hear_the_agent(
    scene: Scene, mode: str, heard_by: str
) -> None:
    scene.connected()
    scene.agent.command(mode)
    scene.agent.command("call.send_dtmf", digits="7")
    scene.run(3)

    assert scene.caller.digits == ("7" if heard_by == "both" else "")
    assert scene.callee.digits == ("" if heard_by == "nobody" else "7")


def test_a_phone_that_takes_no_digits_is_told_and_the_other_one_hears_them(scene: Scene) -> None:
    scene.connected()
    scene.caller.deaf_to_digits = "it has no ears for them"
    scene.agent.command("call.send_dtmf", digits="7")
    scene.run(3)

    (event,) = scene.agent.events("call.error")
    assert (event["error_code"], event["error_message"]) == (
        "DTMF_REFUSED",
        "it has no ears for them",
    )
    assert scene.callee.digits == "7"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("call.send_dtmf", {"digits": ""}),
        ("call.send_dtmf", {"digits": "1x"}),
        ("call.send_dtmf", {"digits": "1" * (MAX_DTMF_DIGITS + 1)}),
        ("call.send_dtmf", {}),
        ("call.transfer", {"number": ""}),
        ("call.transfer", {"number": 1}),
    ],
)
def test_what_is_no_digit_and_no_number_is_refused_without_being_repeated(
    scene: Scene, name: str, data: dict[str, Any]
) -> None:
    command = scene.agent.command(name, **data)

    assert scene.refusal(command) == "INVALID_REQUEST"
    assert scene.result(command)["error_message"] == f"{name}: its data is wrong"


def test_digits_for_another_generation_or_behind_too_many_places_are_refused(scene: Scene) -> None:
    misplaced = scene.agent.command("call.send_dtmf", at=(7, 0), digits="1")
    for _ in range(MAX_PLACES):
        scene.agent.command("agent.mark", at=(0, FRAME * 1000), name="m")
    one_too_many = scene.agent.command("call.send_dtmf", digits="1")

    assert scene.refusal(misplaced) == "INVALID_POSITION"
    assert scene.refusal(one_too_many) == "TOO_MANY_MARKS"


# --- transfers ---------------------------------------------------------------------------


def test_a_transfer_is_asked_for_when_all_before_it_was_heard(scene: Scene) -> None:
    scene.say(FRAME * 5, end=True)
    scene.agent.command("call.transfer", number="+15550111")

    scene.run(4)
    before = scene.caller.sent_to
    scene.run(4)

    assert (before, scene.caller.sent_to) == (None, "+15550111")
    assert len(scene.heard) == FRAME * 5


def test_a_transfer_that_succeeds_ends_the_call_and_answers_the_command(scene: Scene) -> None:
    command = scene.agent.command("call.transfer", number="+15550111")
    scene.run(2)
    assert scene.agent.response(command) is None

    scene.caller.transferred = True
    scene.run(1)

    assert scene.result(command)["success"]
    assert scene.call.end_reason is EndReason.TRANSFERRED
    assert scene.caller.end is not None


def test_a_transfer_that_fails_leaves_the_call_as_it_was(scene: Scene) -> None:
    command = scene.agent.command("call.transfer", number="+15550111")
    scene.run(2)
    scene.caller.transferred = False
    scene.run(1)

    assert scene.refusal(command) == "TRANSFER_FAILED"
    assert scene.call.state is CallState.ANSWERED
    again = scene.agent.command("call.transfer", number="+15550112")
    scene.run(2)
    assert scene.caller.sent_to == "+15550112"
    scene.caller.transferred = True
    scene.run(1)
    assert scene.result(again)["success"]


def test_a_phone_that_tells_nothing_of_its_transfer_is_waited_for_in_vain(scene: Scene) -> None:
    command = scene.agent.command("call.transfer", number="+15550111")
    scene.run(2)

    scene.run(TRANSFER_TIMEOUT_S * 50 - 2)
    assert scene.agent.response(command) is None
    scene.run(2)

    assert scene.refusal(command) == "TRANSFER_FAILED"
    assert scene.call.state is CallState.ANSWERED


def test_one_transfer_at_a_time(scene: Scene) -> None:
    scene.agent.command("call.transfer", number="+15550111")
    second = scene.agent.command("call.transfer", number="+15550112")
    scene.run(2)

    assert scene.refusal(second) == "INVALID_STATE"
    assert scene.caller.sent_to == "+15550111"


def test_a_transfer_that_an_interruption_passes_is_made(scene: Scene) -> None:
    scene.say(FRAME * 50)
    scene.agent.command("call.transfer", number="+15550111")
    scene.run(5)
    before = scene.caller.sent_to

    scene.agent.interrupt()
    scene.run(2)

    assert (before, scene.caller.sent_to) == (None, "+15550111")


def test_a_transfer_that_succeeds_after_its_agent_is_gone_ends_the_call(scene: Scene) -> None:
    scene.agent.command("call.transfer", number="+15550111")
    scene.run(2)
    scene.connected()
    scene.agent.command("call.close")
    scene.run(3)
    assert scene.call.state is CallState.CONNECTED

    scene.caller.transferred = True
    scene.run(1)

    assert scene.call.end_reason is EndReason.TRANSFERRED


def test_a_caller_who_hangs_up_while_transferred_ends_the_call(scene: Scene) -> None:
    command = scene.agent.command("call.transfer", number="+15550111")
    scene.run(2)
    scene.caller.hang_up()
    scene.run(1)

    assert scene.call.end_reason is EndReason.CALLER_HUNG_UP
    assert scene.agent.response(command) is None


# --- phones whose audio changes its rate -------------------------------------------------


class AnyRate(MemoryCallee):
    """A phone of 8 or 24 kHz that says a tone; it must be given frames of the rate it has."""

    def __init__(self, hz: int) -> None:
        super().__init__()
        self.sample_rate_hz = 8_000
        self.frame_sizes: set[int] = set()
        self._hz = hz

    def take(self, tick: int, out: NDArray[np.int16]) -> bool:
        assert out.size == self.sample_rate_hz // 50
        out[:] = tone(self._hz, 20, self.sample_rate_hz)
        return True

    def put(self, tick: int, frame: NDArray[np.int16]) -> None:
        assert frame.size == self.sample_rate_hz // 50
        super().put(tick, frame)


def hears(phone: MemoryPhone, hz: int) -> bool:
    levels = amplitudes(phone.heard, hz, phone.sample_rate_hz)
    return bool(levels[-1] > 5000)


def test_a_phone_that_changes_its_rate_is_heard_and_hears_on() -> None:
    node = Node()
    phone = AnyRate(hz=500)
    call, agent = node.answered_call(phone)
    agent.say(tone(1000, 2000).tobytes())
    node.run(20)
    assert hears(phone, 1000)

    phone.sample_rate_hz = 24_000
    call.retune(phone)
    phone.forget()
    node.run(20)

    assert hears(phone, 1000)
    heard = np.frombuffer(bytes(agent.link.audio), np.int16)
    assert (amplitudes(heard, 500)[-10:] > 5000).all()
    assert call.end_reason is None


def test_retuning_a_phone_that_is_not_in_the_call_changes_nothing(scene: Scene) -> None:
    scene.call.retune(MemoryPhone())
    scene.run(2)

    assert scene.call.state is CallState.ANSWERED


# --- before the answer -------------------------------------------------------------------


def ringing_with(callee: MemoryCallee) -> tuple[Node, MemoryPhone]:
    node = Node(dialer=MemoryDialer(callee))
    caller = MemoryPhone()
    call = node.place(caller)
    agent = node.agent(call)
    agent.command("call.connect")
    node.run(3)
    assert caller.early_at is not None
    return node, caller


def test_who_is_rung_is_heard_instead_of_our_ringback() -> None:
    callee = AnyRate(hz=1000)
    node, caller = ringing_with(callee)
    assert not hears(caller, 1000)

    callee.progress = CalleeProgress.EARLY
    node.run(5)

    assert hears(caller, 1000)


def test_a_phone_may_change_its_rate_between_early_media_and_the_answer() -> None:
    callee = AnyRate(hz=1000)
    node, caller = ringing_with(callee)
    callee.progress = CalleeProgress.EARLY
    node.run(5)
    (call,) = node.exchange.calls

    callee.sample_rate_hz = 24_000
    call.retune(callee)
    node.run(5)
    assert hears(caller, 1000)
    callee.progress = CalleeProgress.ANSWERED
    node.run(5)

    assert call.state is CallState.CONNECTED
    assert hears(caller, 1000)


def test_a_phone_that_rings_in_silence_may_change_its_rate() -> None:
    callee = AnyRate(hz=1000)
    node, caller = ringing_with(callee)
    (call,) = node.exchange.calls

    callee.sample_rate_hz = 24_000
    call.retune(callee)
    callee.progress = CalleeProgress.ANSWERED
    node.run(5)

    assert hears(caller, 1000)
