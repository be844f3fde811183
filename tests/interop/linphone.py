"""linphonec as a phone: told by its standard input what to do, playing and recording files."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from tests.interop.recordings import Samples, write

PATIENCE_S = 10.0

_CONFIG = """\
[sip]
sip_port={sip_port}
sip_tcp_port=-1
sip_tls_port=-1
default_proxy=-1
contact="lin" <sip:lin@127.0.0.1>
guess_hostname=0
media_encryption=none
register_only_when_network_is_up=0

[rtp]
audio_rtp_port={rtp_port}
audio_jitt_comp=60
audio_adaptive_jitt_comp_enabled=1

[sound]
echocancellation=0
playback_gain_db=0.0
mic_gain_db=0.0

[video]
enabled=0
capture=0
display=0
automatically_initiate=0
automatically_accept=0

[misc]
user_certificates_path={folder}

[audio_codec_0]
mime=PCMU
rate=8000
channels=1
enabled=1
"""


class Linphone:
    """One linphonec.

    Args:
        folder: Where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self.heard = folder / "linphone-heard.wav"
        self._folder = folder
        self._log = folder / "linphone.log"
        self._process: asyncio.subprocess.Process

    async def start(self, speech: Samples) -> None:
        """Start it; in its call it says this, at 8 kHz."""
        said = write(self._folder / "linphone-says.wav", speech, 8_000)
        (self._folder / ".local" / "share" / "linphone").mkdir(parents=True)
        config = _CONFIG.format(sip_port=_free(), rtp_port=_free() & ~1, folder=self._folder)
        file = self._folder / "linphonerc"
        file.write_text(config)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("linphonec", "-c", str(file)),
                cwd=self._folder,
                env={**os.environ, "HOME": str(self._folder), "XDG_RUNTIME_DIR": str(self._folder)},
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self.tell("soundcard use files")
        self.tell(f"record {self.heard}")
        self.tell(f"play {said}")

    def tell(self, command: str) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())

    async def until(self, said: str) -> None:
        """Return when it has said something on its screen."""
        async with asyncio.timeout(PATIENCE_S):
            while said not in self._log.read_text(errors="replace"):  # noqa: ASYNC110 (a file)
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it; idempotent."""
        if self._process.returncode is None:
            self.tell("quit")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
