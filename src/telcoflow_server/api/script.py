"""What simulated phones are told to do, as JSON, and what is wrong with it in words.

Not here: the phones (`legs/simulated.py`), reading uploads (`upload.py`).
Implements the scripts of docs/reference/rest.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from telcoflow_server.call.placing import NUMBER
from telcoflow_server.legs.behaviour import Behaviour
from telcoflow_server.legs.simulated import DEFAULT_RING_MS, CalleeScript, Play, Script
from telcoflow_server.media.sound import Sound


class ScriptError(ValueError):
    """A script that no phone can follow; the text says where and why."""


class PlayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Play the n-th uploaded sound, `at_ms` after the answer or right after the one before."""

    sound: int
    at_ms: int | None = None


class CalleeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a simulated phone does that is called."""

    behaviour: str = Behaviour.ANSWER
    after_ms: int = DEFAULT_RING_MS
    plays: list[PlayRequest] = msgspec.field(default_factory=list)
    hang_up_after_ms: int | None = None

    def script(self, sounds: Sequence[Sound], where: str) -> CalleeScript:
        """Return it for a phone; `where` goes before the names of fields. Raises `ScriptError`."""
        if self.behaviour not in tuple(Behaviour):
            known = ", ".join(Behaviour)
            raise ScriptError(f"{where}behaviour is {self.behaviour!r}; it is one of {known}")
        _check_ms(f"{where}after_ms", self.after_ms)
        _check_ms(f"{where}hang_up_after_ms", self.hang_up_after_ms)
        script = Script(_plays(self.plays, sounds, where), self.hang_up_after_ms, is_patient=True)
        return CalleeScript(Behaviour(self.behaviour), self.after_ms, script)


class ScriptRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the simulated caller does, and the callee if an agent connects them."""

    caller: str = msgspec.field(default="+15550100", name="from")
    callee: str = msgspec.field(default="+15550199", name="to")
    plays: list[PlayRequest] = msgspec.field(default_factory=list)
    hang_up_after_ms: int | None = None
    callee_script: CalleeRequest | None = msgspec.field(default=None, name="callee")

    def script(self, sounds: Sequence[Sound]) -> Script:
        """Return it for the caller's phone. Raises `ScriptError`."""
        _check_ms("hang_up_after_ms", self.hang_up_after_ms)
        return Script(_plays(self.plays, sounds, ""), self.hang_up_after_ms)

    def script_of_callee(self, sounds: Sequence[Sound]) -> CalleeScript | None:
        """Return it for the callee's phone, if it was told something. Raises `ScriptError`."""
        return None if self.callee_script is None else self.callee_script.script(sounds, "callee.")


class PhoneRequest(CalleeRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a number behaves when it is called."""

    number: str

    def check_number(self) -> None:
        """Raises `ScriptError`: nobody could dial it."""
        if not NUMBER.fullmatch(self.number):
            raise ScriptError(
                "number cannot be dialled; it is digits, perhaps with a + before them, or a SIP "
                "address"
            )


def _plays(plays: Sequence[PlayRequest], sounds: Sequence[Sound], where: str) -> tuple[Play, ...]:
    for number, play in enumerate(plays):
        if not 0 <= play.sound < len(sounds):
            raise ScriptError(
                f"{where}plays[{number}] names sound {play.sound}, but {len(sounds)} were uploaded"
            )
        _check_ms(f"{where}plays[{number}].at_ms", play.at_ms)
    return tuple(Play(sounds[play.sound], play.at_ms) for play in plays)


def _check_ms(name: str, value_ms: int | None) -> None:
    if value_ms is not None and value_ms < 0:
        raise ScriptError(f"{name} is {value_ms}; it must be 0 or more")
