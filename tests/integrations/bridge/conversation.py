"""A call in which the model is a few lines of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from telcoflow_sdk import ActiveCall
from telcoflow_sdk.bridge import Bridge
from telcoflow_sdk.testing import LivePhone, Sandbox
from tests.positions.stage import serving


class Outcome:
    """What became of a conversation."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_over = asyncio.Event()
        self.call: ActiveCall | None = None


async def converse_in(
    sandbox: Sandbox,
    converse: Callable[[Bridge], object],
    user: Callable[[LivePhone], Awaitable[object]],
    *,
    linger_s: float = 0.0,
    **options: object,
) -> tuple[LivePhone, Outcome]:
    """Have a call in which `converse` is the model's side and `user` the caller's."""
    outcome = Outcome()

    async def take(call: ActiveCall) -> None:
        outcome.call = call
        await call.answer()
        try:
            await Bridge(call, **options).run(converse, linger_s=linger_s)  # type: ignore[arg-type]
        except BaseException as error:
            outcome.error = error
        finally:
            outcome.is_over.set()

    async with serving(sandbox, take):
        phone = await sandbox.dial()
        await phone.answered()
        await user(phone)
        await outcome.is_over.wait()
    return phone, outcome


async def wait_for_the_end(phone: LivePhone) -> None:
    await phone.ended()


async def hang_up_soon(phone: LivePhone) -> None:
    await phone.listen(1.0)
    await phone.hang_up()


async def nothing(_: bytes) -> None:
    pass
