"""asyncio and sockets of the SDK."""
