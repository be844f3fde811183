"""Calls with simulated phones on both ends, in virtual time; only the recorder's thread is real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telcoflow_sdk.protocol.codes import EndReason, ErrorCode
from telcoflow_server import simulation as module
from telcoflow_server.call.exchange import Draining, NewCall
from telcoflow_server.call.placing import CallRefused
from telcoflow_server.call.ports import CalleeProgress, DialRequest
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.legs.simulated import CalleeScript, Play, Script
from telcoflow_server.media.record import Recorder
from telcoflow_server.simulation import Folders, PhoneBook, SimulatedCall, Simulation
from tests.support.exchange import CALLEE, CALLER, MemoryAgent, Node
from tests.support.server import wav_samples
from tests.support.tones import amplitudes, tone

CALLER_HZ, CALLEE_HZ, AGENT_HZ = 500, 900, 1500
TICK = 480


class Sandbox:
    """A node with its simulated phones."""

    def __init__(self, recorder: Recorder, folders: Folders) -> None:
        self.book = PhoneBook()
        self.node = Node(dialer=self.book)
        self.simulation = Simulation(self.node.exchange, self.book, recorder, folders)
        self.node.exchange.board.make_call = self.simulation.make_call

    def place(
        self, script: Script | None = None, callee: CalleeScript | None = None
    ) -> SimulatedCall:
        new_call = NewCall("c1", CALLER, CALLEE, 0)
        return self.simulation.place(new_call, script or Script(is_patient=True), callee)

    def claim(self) -> None:
        (notification,) = self.node.client_link.take()
        self.node.tell(type="session.open", sessionId=notification["sessionId"], reqId="r")

    def connected(self, script: Script, callee: CalleeScript) -> tuple[SimulatedCall, MemoryAgent]:
        simulated = self.place(script, callee)
        self.claim()
        agent = self.node.agent(simulated.call)
        agent.command("call.connect")
        self.run_until(simulated, "CONNECTED")
        return simulated, agent

    def call_out(self, number: str = CALLEE) -> tuple[dict[str, Any], SimulatedCall]:
        """Let the client call a number; return the answer and the call."""
        self.node.tell(
            type="session.create",
            channel="TELCO",
            remoteAddress=number,
            reqId="r1",
            data={"ringTimeSeconds": 5},
        )
        (answer,) = self.node.client_link.take()
        return answer, self.simulation.calls("c1")[0]

    def run_until(self, simulated: SimulatedCall, state: str) -> None:
        for _ in range(1000):
            if simulated.call.state == state:
                return
            self.node.run(1)
        raise AssertionError(f"never {state}")

    def wav(self, file: Path) -> NDArray[np.int16]:
        self.simulation.flush()
        return wav_samples(file.read_bytes())


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    assert recorder.close()


@pytest.fixture
def sandbox(recorder: Recorder, tmp_path: Path) -> Sandbox:
    return Sandbox(recorder, Folders(tmp_path, None))


def plays(hz: int, duration_ms: int, at_ms: int = 0) -> tuple[Play, ...]:
    return (Play(tone(hz, duration_ms), at_ms),)


def test_connect_rings_the_callee_of_the_script(sandbox: Sandbox) -> None:
    callee = CalleeScript(after_ms=200, script=Script(plays(CALLEE_HZ, 400), is_patient=True))
    simulated, _ = sandbox.connected(Script(plays(CALLER_HZ, 400), hang_up_after_ms=500), callee)
    connected = simulated.call.tick

    sandbox.run_until(simulated, "DISCONNECTED")

    assert 10 <= connected <= 12
    assert simulated.call.end_reason is EndReason.CALLER_HUNG_UP
    heard, callee_heard = (
        sandbox.wav(file) for file in (simulated.heard_file, simulated.callee_heard_file)
    )
    # Both begin with the call, whenever their phone came to it.
    assert len(heard) == len(callee_heard) == simulated.call.tick * TICK
    assert (amplitudes(heard, CALLEE_HZ)[connected : connected + 20] > 5900).all()
    assert (amplitudes(callee_heard, CALLER_HZ)[connected : connected + 20] > 5900).all()
    assert not callee_heard[: connected * TICK].any()


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour.BUSY, ErrorCode.CALL_BUSY),
        (Behaviour.DECLINE, ErrorCode.CALL_DECLINED),
        (Behaviour.NO_ANSWER, ErrorCode.CALL_UNANSWERED),
    ],
)
def test_connect_fails_as_the_callee_behaves_and_leaves_no_recording_of_it(
    sandbox: Sandbox, behaviour: Behaviour, code: ErrorCode
) -> None:
    simulated = sandbox.place(callee=CalleeScript(behaviour, after_ms=100))
    agent = sandbox.node.agent(simulated.call)
    command = agent.command("call.connect", ringTimeSeconds=1)

    sandbox.node.run_ms(1100)

    response = agent.response(command)
    assert response is not None
    assert response["error_code"] == code
    simulated.hang_up()
    sandbox.simulation.flush()
    assert not simulated.callee_heard_file.exists()


def test_number_behaves_as_registered_unless_the_call_says_otherwise(sandbox: Sandbox) -> None:
    sandbox.book.register("c1", CALLEE, CalleeScript(Behaviour.BUSY, after_ms=0))
    outcomes = []
    for callee in (None, CalleeScript(after_ms=0)):
        simulated = sandbox.place(callee=callee)
        agent = sandbox.node.agent(simulated.call)
        command = agent.command("call.connect")
        sandbox.node.run(5)
        outcomes.append(agent.response(command))

    assert [outcome and outcome["success"] for outcome in outcomes] == [False, True]


def test_registered_phones_are_a_connector_s_own_and_bounded(sandbox: Sandbox) -> None:
    simulated = sandbox.place()
    for number in range(module.PHONES_KEPT + 1):
        sandbox.book.register("c1", str(number), CalleeScript(Behaviour.BUSY, after_ms=0))
    sandbox.book.register("c1", str(1), CalleeScript(Behaviour.BUSY, after_ms=0))
    sandbox.book.register("c2", "0", CalleeScript(Behaviour.BUSY, after_ms=0))
    call_id = simulated.call.identity.call_id

    def first_ring(connector_uuid: str, number: str) -> str:
        dialled = sandbox.book.dial(DialRequest(call_id, connector_uuid, number, CALLER))
        assert dialled is not None
        return dialled.ring(0).name

    assert first_ring("c1", "0") == "RINGING", "the oldest is forgotten"
    assert first_ring("c1", "1") == "BUSY"
    assert first_ring("c1", "64") == "BUSY"
    assert first_ring("c3", "1") == "RINGING"


def test_call_of_a_real_phone_reaches_simulated_ones_too(sandbox: Sandbox) -> None:
    sandbox.book.register("c1", CALLEE, CalleeScript(Behaviour.BUSY, after_ms=0))

    callee = sandbox.book.dial(DialRequest("another", "c1", CALLEE, CALLER))

    assert callee.ring(0) is CalleeProgress.BUSY


def test_agent_calls_a_simulated_phone(sandbox: Sandbox) -> None:
    person = Script(plays(CALLER_HZ, 400), hang_up_after_ms=500)
    sandbox.book.register("c1", CALLEE, CalleeScript(after_ms=300, script=person))

    answer, simulated = sandbox.call_out()
    (session,) = sandbox.node.exchange.board.sessions("c1")
    agent = sandbox.node.agent(simulated.call)
    command = agent.command("call.answer")
    sandbox.run_until(simulated, "ANSWERED")
    answered = simulated.call.tick
    agent.say(tone(AGENT_HZ, 200).tobytes())
    sandbox.run_until(simulated, "DISCONNECTED")

    assert answer["content"]["created"] is True
    assert (session.initiator, session.remote_address, session.local_address) == ("SDK", CALLEE, "")
    response = agent.response(command)
    assert response is not None
    assert response["success"] is True
    assert simulated.call.identity.is_outbound
    assert simulated.report is not None
    assert simulated.report.end_reason is EndReason.CALLER_HUNG_UP
    heard, both = sandbox.wav(simulated.heard_file), sandbox.wav(simulated.call_file)
    assert len(heard) == len(both) == simulated.call.tick * TICK
    assert not heard[: answered * TICK].any()
    assert np.count_nonzero(amplitudes(heard, AGENT_HZ) > 5900) == 10
    assert np.count_nonzero(amplitudes(both[:, 0], CALLER_HZ) > 5900) == 20


def test_person_called_may_put_the_phone_down_while_it_rings(sandbox: Sandbox) -> None:
    _, simulated = sandbox.call_out()
    agent = sandbox.node.agent(simulated.call)
    command = agent.command("call.answer")
    sandbox.node.run(5)

    simulated.hang_up()
    sandbox.node.run(2)

    response = agent.response(command)
    assert response is not None
    assert response["error_code"] == ErrorCode.CALL_DECLINED
    assert simulated.report is not None
    assert simulated.report.end_reason is EndReason.CALLEE_DECLINED


def test_call_of_an_agent_who_never_comes_can_be_hung_up(sandbox: Sandbox) -> None:
    _, simulated = sandbox.call_out()

    simulated.hang_up()

    assert simulated.report is not None
    assert not simulated.report.answered


def test_draining_node_takes_neither_kind_of_call(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.node.exchange.is_draining = True

    with pytest.raises(Draining):
        sandbox.place()
    with pytest.raises(CallRefused) as refused:
        sandbox.simulation.make_call("c1", CALLEE, 5)

    assert refused.value.code is ErrorCode.DRAINING
    sandbox.simulation.flush()
    assert list(tmp_path.iterdir()) == [], "no recording was begun"


def test_each_party_is_recorded_by_itself_from_tick_0(recorder: Recorder, tmp_path: Path) -> None:
    kept, scratch = tmp_path / "kept", tmp_path / "scratch"
    kept.mkdir()
    scratch.mkdir()
    sandbox = Sandbox(recorder, Folders(scratch, kept, is_split=True))
    callee = CalleeScript(after_ms=200, script=Script(plays(CALLEE_HZ, 400), is_patient=True))
    simulated, agent = sandbox.connected(
        Script(plays(CALLER_HZ, 400), hang_up_after_ms=600), callee
    )
    connected = simulated.call.tick
    agent.command("agent.spy")
    agent.say(tone(AGENT_HZ, 200).tobytes())
    sandbox.run_until(simulated, "DISCONNECTED")
    sandbox.simulation.flush()
    sandbox.simulation.close()

    call_id = simulated.call.identity.call_id
    names = {file.name for file in kept.iterdir()}
    assert names == {f"{call_id}{who}.wav" for who in ("", ".caller", ".callee", ".agent")}
    assert list(scratch.iterdir()) == []
    stereo = sandbox.wav(kept / f"{call_id}.wav")
    parties = [sandbox.wav(kept / f"{call_id}.{who}.wav") for who in ("caller", "callee", "agent")]
    assert {len(samples) for samples in parties} == {len(stereo)} == {simulated.call.tick * TICK}
    for own, samples in zip((CALLER_HZ, CALLEE_HZ, AGENT_HZ), parties, strict=True):
        assert not samples[: connected * TICK].any(), "ringback is nobody's voice"
        for hz in (CALLER_HZ, CALLEE_HZ, AGENT_HZ):
            loud = np.count_nonzero(amplitudes(samples, hz) > 1000)
            assert loud == (0 if hz != own else 10 if hz == AGENT_HZ else 20)


def test_old_calls_are_forgotten_with_their_files(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINISHED_CALLS_KEPT", 1)
    old, new, running = (sandbox.place() for _ in range(3))
    sandbox.node.run(1)
    for simulated in (old, new):
        simulated.hang_up()
        sandbox.simulation.flush()

    new_id, running_id = (one.call.identity.call_id for one in (new, running))
    assert sandbox.simulation.calls("c1") == [running, new]
    assert sandbox.simulation.calls("c2") == []
    assert sandbox.simulation.find(old.call.identity.call_id, "c1") is None
    assert sandbox.simulation.find(new_id, "c1") is new
    assert sandbox.simulation.find(new_id, "c2") is None
    assert {file.name.partition(".")[0] for file in tmp_path.iterdir()} == {new_id, running_id}
