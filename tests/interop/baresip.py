"""baresip as a phone: told by its control port what to do, recording what it decodes.

It has no screen and no sound card: its microphone is a file, its recording the module `sndfile`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from tests.interop.recordings import Samples, write

PATIENCE_S = 10.0

_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{sip_port}
sip_transports udp
audio_player aufile,{folder}/unused.wav
audio_source aufile,{said}
audio_alert aufile,/dev/null
audio_level no
ausrc_srate {rate_hz}
auplay_srate {rate_hz}
ausrc_channels 1
auplay_channels 1
ausrc_format s16
auplay_format s16
rtp_ports 21000-29000
jitter_buffer_delay 5-10
module_path {modules}
{codec_modules}
module aufile.so
module sndfile.so
snd_path {folder}/
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
"""

_MODULES = (
    "/usr/lib/baresip/modules",
    "/usr/lib/x86_64-linux-gnu/baresip/modules",
    "/usr/lib/aarch64-linux-gnu/baresip/modules",
)


class Baresip:
    """One baresip.

    Args:
        folder: Where its files are.
        codecs: By its names, best first, such as `pcmu`.
        modules: What these need, such as `g711`.
        rate_hz: Of what it says and records.
    """

    def __init__(self, folder: Path, codecs: str, modules: tuple[str, ...], rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.heard_events: list[dict[str, Any]] = []
        self.sip_port = _free(socket.SOCK_DGRAM)
        self._folder = folder
        self._codecs = codecs
        self._modules = modules
        self._control_port = _free(socket.SOCK_STREAM)
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def start(self, speech: Samples, parameters: str = "") -> None:
        """Start it; in every call it says this."""
        said = write(self._folder / "baresip-says.wav", speech, self.rate_hz)
        account = (
            f"<sip:alice@127.0.0.1:{self.sip_port};transport=udp>;regint=0;"
            f"audio_codecs={self._codecs}{parameters}\n"
        )
        (self._folder / "accounts").write_text(account)
        config = _CONFIG.format(
            sip_port=self.sip_port,
            control_port=self._control_port,
            folder=self._folder,
            said=said,
            rate_hz=self.rate_hz,
            modules=_modules_folder(),
            codec_modules="\n".join(f"module {name}.so" for name in self._modules),
        )
        (self._folder / "config").write_text(config)
        log = (self._folder / "baresip.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *("baresip", "-f", str(self._folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    streams = await asyncio.open_connection("127.0.0.1", self._control_port)
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        self._reader, self._writer = streams

    async def stop(self) -> None:
        """End it."""
        self._writer.close()
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def tell(self, command: str, parameters: str | None = None) -> None:
        """Give a command of its menu, as a netstring of JSON."""
        message = {"command": command}
        if parameters is not None:
            message["params"] = parameters
        data = json.dumps(message).encode()
        self._writer.write(b"%d:%s," % (len(data), data))

    async def until(self, event: str) -> dict[str, Any]:
        """Return the next event of a type, such as `CALL_ESTABLISHED`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                size = int((await self._reader.readuntil(b":"))[:-1])
                said: dict[str, Any] = json.loads((await self._reader.readexactly(size + 1))[:-1])
                self.heard_events.append(said)
                if said.get("type") == event:
                    return said

    def recordings(self) -> list[Path]:
        """Return what it has heard, one file for each start of its audio, oldest first."""
        found = self._folder.glob("dump-*-dec.wav")
        return sorted(found, key=lambda file: file.stat().st_mtime_ns)


def _modules_folder() -> str:
    return next(one for one in _MODULES if Path(one).is_dir())


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
