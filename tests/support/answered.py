"""A call that an agent has answered, with both ends in the test's hand.

Not here: agents that run by themselves (`agent.py`), processes (`commands.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

import telcoflow_sdk.events as events
from telcoflow_sdk import ActiveCall, TelcoflowClient, TelcoflowClientConfig
from telcoflow_sdk.testing import LivePhone, Sandbox


@asynccontextmanager
async def answered(sandbox: Sandbox) -> AsyncIterator[tuple[ActiveCall, LivePhone]]:
    """Dial, answer, and hand out the call as the agent sees it, and the caller's phone."""
    config = TelcoflowClientConfig.sandbox(**sandbox.credentials)
    async with TelcoflowClient(config) as client:
        incoming: asyncio.Future[ActiveCall] = asyncio.get_running_loop().create_future()
        client.on(events.INCOMING_CALL)(incoming.set_result)
        phone = await sandbox.dial()
        call = await incoming
        await call.answer()
        yield call, phone


def heard_ms(phone: LivePhone) -> float:
    """Return how much the phone has heard that was not silence."""
    return np.count_nonzero(phone.heard.samples) / 24
