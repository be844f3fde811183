from telcoflow_sdk.testing import sandbox

__all__ = ["sandbox"]
