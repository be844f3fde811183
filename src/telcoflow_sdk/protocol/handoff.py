"""A call that one process took and another one handles, as JSON.

Not here: who may give it away (`offer.py`), who takes it (`call.py`).
Implements "Giving a call away" of docs/reference/sdk.md.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from telcoflow_sdk.audio.format import CHANNELS, SAMPLE_RATES_HZ
from telcoflow_sdk.protocol.messages import CallIn

_VERSION = 1


class HandedCall(Struct, frozen=True, rename="camel"):
    """All that is needed to open a call's media link, its token included.

    Attributes:
        call: As the control link delivered it.
        sample_rate: Agreed on the control link, Hz.
        audio_mode: Agreed there, too.
        version: Of this very format.
    """

    call: CallIn
    sample_rate: int
    audio_mode: str
    version: int = _VERSION


def build_handed_call(handed: HandedCall) -> str:
    """Return it as JSON."""
    return msgspec.json.encode(handed).decode()


def parse_handed_call(text: str | bytes) -> HandedCall:
    """Read what `build_handed_call` made.

    Raises:
        ValueError: it did not make this. The text is not quoted: it may hold a token.
    """
    try:
        handed = msgspec.json.decode(text, type=HandedCall)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("this is no call that OfferedCall.to_json() gave away") from None
    if handed.version != _VERSION:
        raise ValueError(f"the call was given away in version {handed.version}, not {_VERSION}")
    if handed.sample_rate not in SAMPLE_RATES_HZ or handed.audio_mode not in CHANNELS:
        raise ValueError("the call was given away with audio that this version does not know")
    return handed
