"""What the server counts, as Prometheus reads it.

Not here: the counting (`call/accounts.py`, `tally.py`, the parts' own statistics), the HTTP
(`overview.py`), real phones (`phone_metrics.py`). Implements docs/reference/metrics.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from telcoflow_sdk.protocol.codes import EndReason
from telcoflow_sdk.protocol.states import CallState
from telcoflow_server.api.families import counter, gauge, histogram
from telcoflow_server.api.media import MediaPort
from telcoflow_server.api.phone_metrics import AT_A_TIME, of_rtp, of_signalling, totals_of
from telcoflow_server.api.tally import Port, Tally
from telcoflow_server.call.accounts import Accounts, Distribution
from telcoflow_server.call.call import Call
from telcoflow_server.call.exchange import Exchange
from telcoflow_server.call.report import Percentiles
from telcoflow_server.garbage import Garbage
from telcoflow_server.media.record import Recorder
from telcoflow_server.telephony.service import Telephony
from telcoflow_server.telephony.totals import RtpTotals
from telcoflow_server.ticker import Ticker

CONTENT_TYPE = CONTENT_TYPE_LATEST

LATENESS_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
"""From a timer that is on time to five whole ticks, after which ticks are skipped."""

UNKNOWN_LATENESS = Percentiles(0.0, 0.0)
"""For reports of running calls: finding percentiles costs more than all the rest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The parts that count; `telephony` is None where no real phones are served."""

    exchange: Exchange
    media: MediaPort
    recorder: Recorder
    ticker: Ticker
    garbage: Garbage
    tally: Tally
    accounts: Accounts
    telephony: Telephony | None = None


class Metrics(Collector):
    """All metrics of one server, in a registry of its own.

    Args:
        sources: Where the numbers are. Whoever makes this adds ended calls to its accounts.

    Attributes:
        registry: For whoever wants to add to it or to read it without HTTP.
    """

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._sources = sources
        self._lateness_s = Distribution(LATENESS_BOUNDS_S)
        self._next_tick = 0
        self._silenced_ms = 0.0
        self._rtp = RtpTotals()
        self.registry.register(self)

    async def text(self) -> bytes:
        """Return everything in Prometheus' text format, running calls included.

        Cancellation: loses nothing.
        """
        await self._look_at_running_calls()
        return generate_latest(self.registry)

    async def _look_at_running_calls(self) -> None:
        async for call in unhurried(self._sources.exchange.calls):
            self._sources.accounts.add(call.report(UNKNOWN_LATENESS))
        if self._sources.telephony is not None:
            self._rtp = (await totals_of(self._sources.telephony)).at_least(self._rtp)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        yield from self._of_calls()
        yield from self._of_audio(self._sources.accounts)
        yield from self._of_agents(self._sources.accounts)
        yield from self._of_ticks()
        yield from self._of_ports()
        yield from self._of_recordings()
        yield from of_signalling(self._sources.telephony)
        yield from of_rtp(self._rtp)

    def _of_calls(self) -> Iterator[Metric]:
        accounts, calls = self._sources.accounts, self._sources.exchange.calls
        running = Counter(call.state for call in calls)
        yield gauge(
            "telcoflow_calls",
            "Calls that run, by state.",
            "state",
            {state: running[state] for state in CallState if state is not CallState.DISCONNECTED},
        )
        yield counter(
            "telcoflow_calls_ended",
            "Calls that ended, by end reason.",
            ("end_reason",),
            {(reason,): accounts.ended[reason] for reason in EndReason},
        )
        yield histogram(
            "telcoflow_call_duration_seconds",
            "How long ended calls lasted, ringing included.",
            accounts.durations_s,
        )

    def _of_audio(self, accounts: Accounts) -> Iterator[Metric]:
        yield counter(
            "telcoflow_gaps",
            "Gaps of one tick or more inside agents' utterances, by cause.",
            ("cause",),
            {(cause,): count for cause, count in accounts.gaps.items()},
        )
        yield counter(
            "telcoflow_gap_seconds",
            "Silence that these gaps add up to, by cause.",
            ("cause",),
            {(cause,): ms / 1000 for cause, ms in accounts.gaps_ms.items()},
        )
        yield counter("telcoflow_clears", "Interruptions of agents' audio.", (), accounts.clears)
        for name, what, ms in (
            ("cleared", "Agents' audio dropped by clears.", accounts.cleared_ms),
            (
                "discarded",
                "Agents' audio that came unasked or after they had hung up.",
                accounts.discarded_ms,
            ),
            (
                "unread",
                "Audio that agents never got, because they did not read.",
                accounts.unread_ms,
            ),
        ):
            yield counter(f"telcoflow_{name}_audio_seconds", what, (), ms / 1000)
        yield counter(
            "telcoflow_frames",
            "Frames of 20 ms sent to agents, and ticks that played their audio.",
            ("direction",),
            {
                ("to_agent",): accounts.frames_to_agent,
                ("from_agent",): accounts.frames_from_agent,
            },
        )
        yield histogram(
            "telcoflow_lead_seconds",
            "Audio kept queued and under way, at the end of answered calls.",
            accounts.leads_s,
        )
        yield histogram(
            "telcoflow_prefill_seconds",
            "Audio awaited behind a first frame, at the end of answered calls.",
            accounts.prefills_s,
        )

    def _of_agents(self, accounts: Accounts) -> Iterator[Metric]:
        yield counter(
            "telcoflow_media_outages",
            "Losses of agents' media links that their calls waited out, or tried to.",
            (),
            accounts.outages,
        )
        yield counter(
            "telcoflow_media_outage_seconds",
            "How long these calls had no media link.",
            (),
            accounts.outage_ms / 1000,
        )
        yield histogram(
            "telcoflow_agent_loop_lag_seconds",
            "The longest that an agent's event loop was blocked in a call, as it says itself.",
            accounts.loop_lags_s,
        )

    def _of_ticks(self) -> Iterator[Metric]:
        self._next_tick, lateness_ms = self._sources.exchange.lateness_ms(self._next_tick)
        self._lateness_s.add_all(lateness_ms / 1000)
        yield histogram(
            "telcoflow_tick_lateness_seconds",
            "How late ticks ran; read at least every ten minutes, it has them all.",
            self._lateness_s,
        )
        yield counter(
            "telcoflow_skipped_ticks",
            "Ticks that never ran, because the process was held up for too long.",
            (),
            self._sources.ticker.skipped_ticks,
        )
        yield counter(
            "telcoflow_garbage_searches",
            "How often the process looked for cyclic garbage among all its objects.",
            (),
            self._sources.garbage.searches,
        )
        yield gauge(
            "telcoflow_garbage_search_longest_seconds",
            "The longest that took; no tick runs meanwhile.",
            None,
            self._sources.garbage.longest_s,
        )
        yield counter(
            "telcoflow_failed_legs",
            "Legs taken out of their calls because they failed.",
            (),
            self._sources.exchange.plane_statistics().failed_legs,
        )

    def _of_ports(self) -> Iterator[Metric]:
        board, tally = self._sources.exchange.board, self._sources.tally
        yield gauge(
            "telcoflow_links",
            "Links that are open, by kind.",
            "kind",
            {Port.CONTROL: board.client_count, Port.MEDIA: self._sources.media.link_count},
        )
        refusals: dict[tuple[str, ...], int] = {
            ("http", port, code): count for (port, code), count in tally.refusals.items()
        }
        for port, of_links in (
            (Port.CONTROL, board.refusals),
            (Port.MEDIA, self._sources.accounts.refusals),
        ):
            refusals.update({("link", port, code): count for code, count in of_links.items()})
        yield counter(
            "telcoflow_refusals",
            "Requests, messages and commands refused: over HTTP or in a link, at a port, by code.",
            ("via", "port", "code"),
            refusals,
        )
        yield counter(
            "telcoflow_link_closes",
            "Links that the server closed, by kind and close code.",
            ("kind", "code"),
            {(port, code.name): count for (port, code), count in tally.closes.items()},
        )

    def _of_recordings(self) -> Iterator[Metric]:
        recordings = self._sources.recorder.statistics()
        # Another thread moves a lane's sum to the recorder's when it ends; a look between the two
        # steps sees less, which would be a counter that falls.
        self._silenced_ms = max(self._silenced_ms, recordings.silenced_ms)
        yield gauge(
            "telcoflow_recordings",
            "Recordings that are being written.",
            None,
            recordings.open_lanes,
        )
        yield counter(
            "telcoflow_recording_silenced_seconds",
            "Sound that recordings have silence for, because the disk was too slow.",
            (),
            self._silenced_ms / 1000,
        )
        yield counter(
            "telcoflow_recordings_failed",
            "Recordings ended early by the disk.",
            (),
            recordings.failed_lanes,
        )


async def unhurried(calls: Sequence[Call]) -> AsyncIterator[Call]:
    """Yield calls that run, with pauses in which the node does its work and some may end."""
    for number, call in enumerate(calls):
        if number % AT_A_TIME == AT_A_TIME - 1:
            await asyncio.sleep(0)
        if not call.is_over:
            yield call
