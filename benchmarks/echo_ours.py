"""The echo agent of the comparison, on our SDK: as the documentation would write it.

Arguments: base URL, event loop.
"""

from __future__ import annotations

import sys

from benchmarks import lines
from telcoflow_sdk import ActiveCall, ClientEvent, TelcoflowClient, TelcoflowClientConfig


async def echo(call: ActiveCall) -> None:
    """Answer, and say back what is heard until the call ends."""
    await call.answer()
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)


async def main(base_url: str) -> None:
    """Echo every call until the input ends."""
    config = TelcoflowClientConfig.sandbox(
        api_key="bench", connector_uuid="bench", base_url=base_url, sample_rate=24_000
    )
    async with TelcoflowClient(config) as client:
        client.on(ClientEvent.INCOMING_CALL)(echo)
        await lines.serve({})


if __name__ == "__main__":
    lines.run(main(sys.argv[1]), sys.argv[2])
