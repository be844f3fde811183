"""Test an agent: a telephone network in the test's process, in real or in virtual time.

Not here: phones that follow a script (`legs/simulated.py`), which tests over REST use.
Implements docs/how-to/test-your-agent.md. Users import it as `telcoflow_sdk.testing`.
"""
