from __future__ import annotations

import asyncio
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telcoflow_sdk import BufferClosedError
from telcoflow_sdk._asyncio.media import MediaConnection
from telcoflow_sdk._asyncio.tasks import OwnedTasks
from telcoflow_sdk.audio.format import AudioFormat, CallAudio
from telcoflow_sdk.protocol.commands import MODE_COMMANDS, CommandName
from telcoflow_sdk.protocol.media_events import EndCause
from tests.support.wire import Wire

REQUEST = b'{"type": "buffer_request", "data": {"requested_bytes": 960}}'


class Agent:
    """A connected call of which every sample has a value of its own."""

    def __init__(self) -> None:
        self.asked: list[int | str] = []
        self._ids = 0
        self._samples = 0
        audio = CallAudio(AudioFormat(), 1, 100_000)
        self.media = MediaConnection(audio, self._make_id, None, lambda event: None, OwnedTasks())
        self.wire = Wire()
        self.media.link_opened(self.wire)
        self.tasks: list[asyncio.Task[object]] = []

    @property
    def sent(self) -> list[int | str]:
        """What has left: samples by their values, and commands by their ids."""
        items: list[int | str] = []
        for message in self.wire.sent:
            if isinstance(message, dict):
                items.append(message["data"]["command_id"])
            else:
                items += [
                    int.from_bytes(message[at : at + 2], "big") for at in range(1, len(message), 2)
                ]
        return items

    def _make_id(self) -> str:
        self._ids += 1
        self.asked.append(f"command-{self._ids}")
        return f"command-{self._ids}"

    async def commands(self, name: CommandName) -> None:
        ring_s = 30 if name is CommandName.CONNECT else None
        self.tasks.append(asyncio.create_task(self.media.command(name, ring_time_s=ring_s)))
        await asyncio.sleep(0)

    async def connects(self) -> None:
        await self.commands(CommandName.CONNECT)
        data = {"command_id": "command-1", "success": True}
        self.hears("command_response", data)

    def hears(self, kind: str, data: dict[str, object]) -> None:
        self.media.text_received(json.dumps({"type": kind, "data": data}).encode())

    def grants(self, requested_bytes: int) -> None:
        self.hears("buffer_request", {"requested_bytes": requested_bytes})

    def sends(self, samples: int) -> None:
        numbers = range(self._samples, self._samples + samples)
        self.asked += numbers
        self._samples += samples
        self.media.audio.write(b"".join(number.to_bytes(2, "big") for number in numbers))

    def clears(self) -> None:
        sent = len(self.sent)
        self.asked[sent:] = [one for one in self.asked[sent:] if isinstance(one, str)]
        self.media.audio.clear()


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 40)),
            st.tuples(st.just("grant"), st.integers(1, 60)),
            st.tuples(st.just("mode"), st.sampled_from(sorted(MODE_COMMANDS))),
            st.tuples(st.just("clear"), st.just(0)),
        ),
        max_size=30,
    )
)
async def test_audio_and_commands_leave_in_the_order_they_were_asked_for(
    steps: list[tuple[str, int | CommandName]],
) -> None:
    agent = Agent()
    await agent.connects()
    for step, argument in steps:
        if isinstance(argument, CommandName):
            await agent.commands(argument)
        elif step == "send":
            agent.sends(argument)
        elif step == "grant":
            agent.grants(argument)
        else:
            agent.clears()
        assert agent.sent == agent.asked[: len(agent.sent)]

    agent.grants(10_000)

    assert agent.sent == agent.asked
    agent.media.end(EndCause.ABANDONED)
    await asyncio.gather(*agent.tasks, return_exceptions=True)


def test_another_thread_that_outlives_the_loop_is_told_that_the_call_is_over() -> None:
    made: list[MediaConnection] = []

    async def run() -> None:
        audio = CallAudio(AudioFormat(), 1, 10_000)
        media = MediaConnection(audio, str, None, lambda event: None, OwnedTasks())
        media.link_opened(Wire())
        media.text_received(REQUEST)
        made.append(media)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    thread.join()

    with pytest.raises(BufferClosedError):
        made[0].audio.write(b"ab")
