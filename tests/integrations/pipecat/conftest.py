"""Pipecat, loaded before the tests: its own warnings would be errors in them."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop
    import telcoflow_sdk.integrations.pipecat  # noqa: F401
