"""What the kit's assertions say of conversations made of samples, and of one in virtual time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.testing import (
    Conversation,
    ConversationError,
    LivePhone,
    Sandbox,
    running,
    virtual_time,
)
from telcoflow_server.testing.conversation_sound import Phrase, find, phrases
from tests.support.server import noise, wav_bytes

Spans = Sequence[tuple[int, int]]
MS = 24


def voice(spans: Spans, total_ms: int, seed: int) -> NDArray[np.int16]:
    """Return somebody who speaks from here to there, ms."""
    samples = np.zeros(total_ms * MS, np.int16)
    source = noise(total_ms * MS, seed)
    for begin_ms, end_ms in spans:
        samples[begin_ms * MS : end_ms * MS] = source[begin_ms * MS : end_ms * MS]
    return samples


def talk(caller: Spans, agent: Spans, total_ms: int = 6_000, answered_ms: int = 0) -> Conversation:
    return Conversation(
        said=voice(caller, total_ms, 1), heard=voice(agent, total_ms, 2), answered_ms=answered_ms
    )


def test_phrases_are_found_to_the_sample() -> None:
    sound = np.zeros(24_000, np.int16)
    sound[1_001:3_333] = 3_000
    sound[7_000:9_000] = -3_000

    assert phrases(sound, 100) == [
        Phrase(1_001 / MS, 3_333 / MS),
        Phrase(7_000 / MS, 9_000 / MS),
    ]
    assert phrases(sound, 160) == [Phrase(1_001 / MS, 9_000 / MS)]
    assert phrases(np.zeros(1_000, np.int16), 100) == []
    assert phrases(np.zeros(0, np.int16), 100) == []


def test_phrases_of_a_recording_that_ends_within_a_frame() -> None:
    assert phrases(np.full(500, 3_000, np.int16), 100) == [Phrase(0, 500 / MS)]


def test_the_greeting_is_timed_from_the_answer() -> None:
    greeted = talk([], [(100, 500), (1_300, 2_000)], answered_ms=1_000)

    assert greeted.assert_greets_within(300) == 300
    with pytest.raises(ConversationError, match="said nothing for 300 ms after the answer, 299 ms"):
        greeted.assert_greets_within(299)


def test_an_agent_that_never_greets_fails() -> None:
    with pytest.raises(ConversationError, match="said nothing for 6000 ms after the answer"):
        talk([], []).assert_greets_within(300)
    with pytest.raises(ConversationError, match=r"nothing to measure: .* too soon to tell"):
        talk([], [], total_ms=200).assert_greets_within(300)


def test_answers_are_timed_from_each_end_of_speech() -> None:
    answered = talk([(1_000, 2_000), (3_500, 4_000)], [(2_300, 3_000), (4_700, 5_000)])

    assert answered.assert_answers_within(700) == 700
    with pytest.raises(ConversationError) as failed:
        answered.assert_answers_within(500)
    assert str(failed.value).splitlines() == [
        "the agent said nothing for 700 ms after the caller's end of speech, 500 ms are allowed",
        "  from 4.000 s to 4.700 s of the call",
        "  right before that: 300 ms",
        "  answered  0.000 s",
        "  caller    1.000 s to 2.000 s",
        "  agent     2.300 s to 3.000 s",
        "  caller    3.500 s to 4.000 s",
        "  agent     4.700 s to 5.000 s",
    ]


@pytest.mark.parametrize(
    ("caller", "agent", "took_ms"),
    [
        ([(1_000, 1_400), (1_900, 2_300)], [(2_400, 3_000)], 100),  # a pause for thought
        ([(1_000, 2_000)], [(1_900, 3_000)], 0),  # the agent was too quick
        ([(1_000, 2_000), (5_800, 6_000)], [(2_100, 3_000)], 100),  # hung up
        ([(1_000, 2_000)], [(500, 1_200), (2_200, 3_000)], 200),  # barge-in
        ([(1_000, 1_300), (4_500, 5_000)], [(500, 4_000), (5_050, 5_500)], 50),  # "mm-hm"
    ],
)
def test_what_counts_as_an_answer(caller: Spans, agent: Spans, took_ms: float) -> None:
    assert talk(caller, agent).assert_answers_within(600) == took_ms


@pytest.mark.parametrize(
    ("caller", "agent"),
    [
        ([(1_000, 2_000)], []),
        ([(1_000, 2_000), (3_000, 3_500)], [(3_600, 4_000)]),  # the caller asks again
        ([(1_000, 2_000)], [(500, 1_200)]),  # stops, and says no more
        ([(1_000, 2_000)], [(1_300, 1_500)]),  # "mm-hm", of the agent's
    ],
)
def test_no_answer_fails(caller: Spans, agent: Spans) -> None:
    with pytest.raises(ConversationError, match="after the caller's end of speech"):
        talk(caller, agent).assert_answers_within(600)


def test_no_end_of_speech_is_no_success() -> None:
    with pytest.raises(ConversationError, match="nothing to measure: no end of the caller's"):
        talk([(5_000, 5_500)], []).assert_answers_within(600)


def test_stops_are_timed_from_the_first_sound_of_the_caller() -> None:
    stopped = talk([(1_000, 2_000), (4_000, 5_000)], [(500, 1_150), (2_500, 4_400)])

    assert stopped.assert_stops_within(400) == 400
    with pytest.raises(ConversationError, match=r"went on for 400 ms .*, 300 ms are allowed"):
        stopped.assert_stops_within(300)
    assert stopped.between(0, 3).assert_stops_within(300) == 150


def test_no_barge_in_is_no_success() -> None:
    with pytest.raises(ConversationError, match="nothing to measure: the caller never began"):
        talk([(1_000, 2_000)], [(2_100, 3_000)]).assert_stops_within(300)


def test_talking_over_counts_whoever_began() -> None:
    agent_began = talk([(1_000, 2_000)], [(500, 1_250)])
    caller_began = talk([(1_000, 2_000)], [(1_600, 3_000)])
    neither = talk([(1_000, 2_000)], [(2_000, 3_000)])

    assert agent_began.assert_never_talks_over(250) == 250
    assert caller_began.assert_never_talks_over(400) == 400
    assert neither.assert_never_talks_over(0) == 0
    with pytest.raises(ConversationError, match=r"over the caller for 400 ms, 399 ms are"):
        caller_began.assert_never_talks_over(399)
    with pytest.raises(ConversationError, match="the caller never spoke"):
        talk([], [(0, 500)]).assert_never_talks_over(0)


def test_silence_is_when_nobody_speaks_after_the_answer() -> None:
    quiet = talk([(2_000, 3_000)], [(1_500, 1_700), (4_500, 5_000)], answered_ms=1_000)

    assert quiet.assert_no_silence_over(1.5) == 1.5
    with pytest.raises(ConversationError) as failed:
        quiet.assert_no_silence_over(1.4)
    assert "nobody said anything for 1500 ms, 1400 ms are allowed" in str(failed.value)
    assert "from 3.000 s to 4.500 s of the call" in str(failed.value)
    assert quiet.between(4.5, 5.5).assert_no_silence_over(1) == 0.5
    with pytest.raises(ConversationError, match="nothing was heard after the answer"):
        quiet.between(0, 0.5).assert_no_silence_over(1)


def test_silence_may_last_to_the_end() -> None:
    with pytest.raises(ConversationError, match="nobody said anything for 5000 ms"):
        talk([], [(0, 1_000)]).assert_no_silence_over(4)


TURN = noise(3_000 * MS, 2)


def cancelled(comes_back: NDArray[np.int16]) -> Conversation:
    """Return a turn that is talked over after a second, and what comes 1.5 s later."""
    heard = np.zeros(6_000 * MS, np.int16)
    heard[500 * MS : 1_600 * MS] = TURN[: 1_100 * MS]
    heard[3_000 * MS : 3_000 * MS + comes_back.size] = comes_back
    return Conversation(said=voice([(1_500, 2_500)], 6_000, 1), heard=heard)


def test_a_turn_is_cancelled_when_nothing_of_it_comes_back() -> None:
    cancelled(noise(24_000, 3)).assert_cancelled(TURN, within_ms=100)

    with pytest.raises(ConversationError) as failed:
        cancelled(noise(24_000, 3)).assert_cancelled(TURN, within_ms=60)
    assert "heard 70 ms after the caller spoke over it, 60 ms are allowed" in str(failed.value)


@pytest.mark.parametrize("ms", [20, 1_000])
def test_a_single_frame_that_comes_back_is_found(ms: int) -> None:
    leak = TURN[1_203 * MS : (1_203 + ms) * MS]

    with pytest.raises(ConversationError) as failed:
        cancelled(leak).assert_cancelled(TURN, within_ms=100)

    assert "from 1.500 s to 3.017 s of the call" in str(failed.value)
    assert "the piece is at 1.210 s of the sound that was given" in str(failed.value)


def test_what_comes_back_softer_and_noisier_is_found() -> None:
    rough = TURN[1_200 * MS : 1_500 * MS] // 3 + noise(300 * MS, 5) // 20

    with pytest.raises(ConversationError, match="a piece of the cancelled turn"):
        cancelled(rough.astype(np.int16)).assert_cancelled(TURN, within_ms=100)


def test_a_turn_of_another_rate_is_found() -> None:
    slow = noise(16_000, 9)  # two seconds at 8 kHz
    from telcoflow_server.media.sound import load_sound

    heard = np.zeros(6_000 * MS, np.int16)
    heard[2_000 * MS : 4_000 * MS] = load_sound(wav_bytes(slow, 8_000)) * 0.9
    conversation = Conversation(said=heard * 0, heard=heard)

    with pytest.raises(ConversationError, match="a piece of what must not be heard was heard"):
        conversation.assert_never_heard(wav_bytes(slow, 8_000))
    conversation.assert_never_heard(noise(24_000, 7))
    conversation.between(4.1).assert_never_heard(wav_bytes(slow, 8_000))


def test_a_turn_that_was_not_heard_at_all_is_no_success() -> None:
    with pytest.raises(ConversationError, match="nothing of this turn is heard before"):
        cancelled(noise(24_000, 3)).assert_cancelled(noise(24_000, 4), within_ms=100)
    with pytest.raises(ConversationError, match="the caller never began to speak while"):
        talk([], [(0, 1_000)]).assert_cancelled(noise(24_000, 4), within_ms=100)


def test_silence_cannot_be_found() -> None:
    with pytest.raises(ValueError, match="shorter than 10 ms, or silent"):
        find(np.zeros(24_000, np.int16), TURN)
    assert find(TURN, np.zeros(10, np.int16)) is None
    assert find(TURN, np.zeros(24_000, np.int16)) is None


def test_samples_are_found_only_where_samples_are() -> None:
    # The same bytes, one byte further: not the same sound.
    shifted = np.frombuffer(b"\x07" + TURN[:2_400].tobytes() + b"\x07", np.int16)

    assert find(TURN[:2_400], shifted) is None


@pytest.mark.parametrize("part", [(2, 1), (1, 1), (-1, 1)])
def test_a_part_ends_after_it_begins(part: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="there is nothing between"):
        talk([], []).between(*part)


def test_an_error_lists_what_is_near(tmp_path: Path) -> None:
    many = [(ms, ms + 300) for ms in range(0, 60_000, 1_000)]
    with pytest.raises(ConversationError) as failed:
        talk(many, [], 60_000).between(30).assert_answers_within(500)

    lines = str(failed.value).splitlines()
    assert len(lines) == 2 + 1 + 12
    assert "  caller    30.000 s to 30.300 s" in lines


@pytest.mark.slow
def test_a_failure_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "new" / "call.png"
    conversation = Conversation(
        said=voice([(1_000, 2_000)], 3_000, 1),
        heard=voice([(500, 1_700)], 6_000, 2),
        picture=picture,
    )

    conversation.assert_stops_within(700)
    assert not picture.exists()
    with pytest.raises(ConversationError, match=re.escape(f"picture: {picture}")):
        conversation.assert_stops_within(600)

    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_that_cannot_be_written_hides_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    conversation = Conversation(
        said=voice([(1_000, 2_000)], 3_000, 1),
        heard=voice([(500, 1_700)], 3_000, 2),
        picture=tmp_path / "file" / "call.png",
    )

    with pytest.raises(ConversationError, match=r"went on for 700 ms[^$]*no picture: "):
        conversation.assert_stops_within(600)


def test_the_fixture_puts_the_picture_beside_the_test(
    conversation: Callable[[LivePhone], Conversation], request: pytest.FixtureRequest
) -> None:
    picture = conversation(LivePhone()).picture

    assert picture == Path(__file__).with_name(f"{Path(__file__).stem}.{request.node.name}.png")


LONG, NEXT = noise(72_000, 11), noise(12_000, 12)


async def interruptible(config: TelcoflowClientConfig) -> None:
    """An agent that answers with a long turn and, when talked over, 100 ms later with another."""

    async def on_call(call: ActiveCall) -> None:
        await call.answer()
        await call.send_audio(LONG.tobytes())
        said_ms = 0
        async for chunk in call.audio_stream():
            said_ms += len(chunk) // 48 if any(chunk) else 0
            if said_ms == 100:
                await call.interrupt()
            if said_ms >= 100 and not any(chunk):
                said_ms = 0
                await call.send_audio(NEXT.tobytes())

    async with TelcoflowClient(config) as client:
        client.on(events.INCOMING_CALL)(on_call)
        await client.run_forever()


@virtual_time
async def test_a_call_in_virtual_time_is_measured(sandbox: Sandbox) -> None:
    async with running(interruptible(TelcoflowClientConfig.sandbox(**sandbox.credentials))):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(1.0)
        await phone.say(noise(9_600, 13))
        await phone.listen(1.0)
        conversation = Conversation.of(phone)
        await phone.hang_up()

    assert len(conversation.caller_phrases) == 1
    assert conversation.caller_phrases[0].duration_ms == 400
    assert conversation.assert_greets_within(100) <= 100
    # The agent notices after 100 ms of voice, and the ways take no time.
    assert conversation.assert_stops_within(100) == 100
    assert conversation.assert_never_talks_over(100) == 100
    assert 0 < conversation.assert_answers_within(100) <= 100
    assert conversation.assert_no_silence_over(0.7) > 0.2
    conversation.assert_cancelled(LONG, within_ms=100)
    conversation.assert_never_heard(noise(24_000, 14))
    with pytest.raises(ConversationError):
        conversation.assert_never_heard(NEXT)


@pytest.mark.slow
async def test_a_call_over_sockets_is_measured_too(sandbox: Sandbox) -> None:
    async with running(interruptible(TelcoflowClientConfig.sandbox(**sandbox.credentials))):
        phone = await sandbox.dial()
        await phone.answered()
        await phone.listen(0.5)
        await phone.say(noise(9_600, 13))
        await phone.listen(0.6)
        conversation = Conversation.of(phone)
        await phone.hang_up()

    assert conversation.assert_stops_within(200) >= 100
    assert conversation.assert_answers_within(200) > 0
    conversation.assert_cancelled(LONG, within_ms=200)


@virtual_time
async def test_a_callee_has_a_conversation_too(sandbox: Sandbox) -> None:
    callee = sandbox.callee("+15550123", after_s=0.1)
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with TelcoflowClient(config) as client:
        for _ in range(2):  # its second call goes on behind its first
            call = await client.call("+15550123")
            await call.answer()
            await call.send_audio(NEXT.tobytes())
            await callee.listen_until_quiet(0.3)
            await callee.say(noise(4_800, 13))
            await callee.listen(0.1)
            await call.disconnect()
            await callee.ended()

    conversation = Conversation.of(callee)
    assert [one.duration_ms for one in conversation.caller_phrases] == [200, 200]
    assert len(conversation.agent_phrases) == 1  # since the last answer
    assert conversation.assert_greets_within(100) <= 100
