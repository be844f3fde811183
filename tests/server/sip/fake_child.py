"""A SIP process that says what a test wants to see the edge hear; run as a module.

Its first argument is the stream; what it says is chosen by the environment.
"""

from __future__ import annotations

import os
import socket
import sys

from telcoflow_server.sip.events import Fault, Listening
from telcoflow_server.sip.pipe import encode

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as stream:
        if os.environ["FAKE_CHILD"] == "garbage":
            stream.sendall(b"\xff" * 100)
        else:
            stream.sendall(encode(Fault(error="KeyError", places=("somewhere:7 there",))))
            stream.sendall(encode(Listening()))
        while stream.recv(65_536):
            pass
