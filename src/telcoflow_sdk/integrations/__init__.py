"""A call for frameworks of agents, each in a module that imports the framework, with an extra.

Not here: models, which need none (`bridge.py`).
Implements docs/how-to/pipecat.md and docs/how-to/livekit-agents.md.
"""
