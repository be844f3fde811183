"""The version of the SDK: sent as `x-sdk-version`, equal to the distribution's.

Not here: anything else. Implements docs/reference/wire.md §1 (headers).
"""

__version__ = "0.28.0"
