"""Test your agent: phones that your test holds, in the test's process; also in virtual time.

Not here: everything; it comes with the server, and is imported with this module only.
Implements docs/how-to/test-your-agent.md. (PYTEST_DONT_REWRITE: a conftest may import from here
before it names this module as a plugin.)
"""

try:
    from telcoflow_server.testing.conversation import Conversation, ConversationError
    from telcoflow_server.testing.fixtures import conversation, sandbox, virtual_time
    from telcoflow_server.testing.line import PhoneState
    from telcoflow_server.testing.phone import LiveCallee, LivePhone
    from telcoflow_server.testing.running import running
    from telcoflow_server.testing.sandbox import Sandbox
    from telcoflow_server.testing.sound import Heard
    from telcoflow_server.testing.virtual import VirtualTimeError, run_virtual
except ModuleNotFoundError as error:
    if (error.name or "").startswith("telcoflow"):
        raise
    raise ModuleNotFoundError(
        f"telcoflow_sdk.testing needs {error.name}, which comes with "
        '`pip install "telcoflow-sdk[testing]"`',
        name=error.name,
    ) from None

__all__ = [
    "Conversation",
    "ConversationError",
    "Heard",
    "LiveCallee",
    "LivePhone",
    "PhoneState",
    "Sandbox",
    "VirtualTimeError",
    "conversation",
    "run_virtual",
    "running",
    "sandbox",
    "virtual_time",
]
