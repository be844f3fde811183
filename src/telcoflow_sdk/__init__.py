"""Put a Python voice agent on a phone call.

Not here: how (`client.py`, `call.py`). Implements docs/reference/sdk.md.
"""

from telcoflow_sdk._asyncio.streams import AudioStream
from telcoflow_sdk.call import ActiveCall
from telcoflow_sdk.client import TelcoflowClient
from telcoflow_sdk.config import TelcoflowClientConfig
from telcoflow_sdk.events import CallEvent, ClientEvent
from telcoflow_sdk.exceptions import (
    BufferClosedError,
    BufferFullError,
    WSSAuthenticationError,
    WSSCallClosedError,
    WSSCallCommandError,
    WSSCallCommandTimeoutError,
    WSSCallError,
    WSSConnectionError,
    WSSError,
    WSSMediaError,
)
from telcoflow_sdk.offer import OfferedCall
from telcoflow_sdk.playback import (
    CallStatistics,
    Digit,
    GapCause,
    Interruption,
    Mark,
    Playback,
    Resumption,
)
from telcoflow_sdk.protocol.backoff import ReconnectPolicy
from telcoflow_sdk.protocol.commands import DialProgress
from telcoflow_sdk.protocol.states import CallState
from telcoflow_sdk.version import __version__

__all__ = [
    "ActiveCall",
    "AudioStream",
    "BufferClosedError",
    "BufferFullError",
    "CallEvent",
    "CallState",
    "CallStatistics",
    "ClientEvent",
    "DialProgress",
    "Digit",
    "GapCause",
    "Interruption",
    "Mark",
    "OfferedCall",
    "Playback",
    "ReconnectPolicy",
    "Resumption",
    "TelcoflowClient",
    "TelcoflowClientConfig",
    "WSSAuthenticationError",
    "WSSCallClosedError",
    "WSSCallCommandError",
    "WSSCallCommandTimeoutError",
    "WSSCallError",
    "WSSConnectionError",
    "WSSError",
    "WSSMediaError",
    "__version__",
]
