from telcoflow_sdk.testing import conversation, sandbox

__all__ = ["conversation", "sandbox"]
