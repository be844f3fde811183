"""SIPp as a phone: one call by a scenario, with recorded speech.

It records nothing itself: what it was sent, the relay before it keeps.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from telcoflow_server.codec.table import Codec
from tests.interop.recordings import Samples

_HEADERS = """\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
From: <sip:+4930123@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>{to_tag}
Call-ID: [call_id]
CSeq: {cseq}
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
"""

_OFFER = """\
v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP {pt} 101
a=rtpmap:{pt} {encoding}/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=sendrecv
"""


def _request(start: str, cseq: str, *, to_tag: str = "[peer_tag_param]", body: str = "") -> str:
    headers = _HEADERS.format(to_tag=to_tag, cseq=cseq)
    kind = "Content-Type: application/sdp\n" if body else ""
    length = "[len]" if body else "0"
    return f"<![CDATA[\n{start} SIP/2.0\n{headers}{kind}Content-Length: {length}\n\n{body}]]>"


def scenario(codec: Codec, sound: Path, talk_ms: int) -> str:
    """Return a scenario: call, play a file once that is answered, hang up after a while.

    Args:
        codec: G.711.
        sound: In this codec, without a header.
        talk_ms: From the answer to the end.
    """
    pt, encoding = codec.static_pt, codec.encoding
    offer = _OFFER.format(pt=pt, encoding=encoding)
    invite = _request(
        "INVITE sip:[service]@[remote_ip]:[remote_port]", "1 INVITE", to_tag="", body=offer
    )
    action = f'rtp_stream="{sound},1,{pt},{encoding}/8000"'
    return f"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a call">
  <send retrans="500">{invite}</send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send>{_request("ACK [next_url]", "1 ACK")}</send>
  <nop><action><exec {action}/></action></nop>
  <pause milliseconds="{talk_ms}"/>
  <send retrans="500">{_request("BYE [next_url]", "2 BYE")}</send>
  <recv response="200"/>
</scenario>
"""


class Sipp:
    """One call of SIPp's.

    Args:
        folder: Where its files are.
        codec: G.711.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        self._process: asyncio.subprocess.Process | None = None

    async def call(self, address: tuple[str, int], speech: Samples, talk_ms: int) -> None:
        """Call an address and say something."""
        sound = self._folder / "said.raw"
        sound.write_bytes(self._codec.encoder().encode(speech))
        file = self._folder / "scenario.xml"
        file.write_text(scenario(self._codec, sound, talk_ms))
        arguments = ["-sf", str(file), "-m", "1", "-s", "100", "-i", "127.0.0.1", "-mi"]
        arguments += ["127.0.0.1", "-nostdin", "-trace_err", f"{address[0]}:{address[1]}"]
        self._process = await asyncio.create_subprocess_exec(
            "sipp",
            *arguments,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def done(self) -> int:
        """Return its exit status: 0, if the call went as the scenario says."""
        assert self._process is not None, "it has called"
        return await self._process.wait()

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
