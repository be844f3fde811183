"""Phones behind a proxy, as docs/how-to/tls-with-kamailio.md sets one up."""

from __future__ import annotations

from telcoflow_server.sip.accounts import Private
from telcoflow_server.sip.commands import Dial
from telcoflow_server.sip.events import DialogId, Registered
from tests.server.sip.conftest import Stage
from tests.support.sip_phone import ANSWER, OFFER, register


async def test_the_ack_goes_by_the_proxys_route_and_leaves_the_contact_as_it_is(
    guarded_stage: Stage,
) -> None:
    """Found with Kamailio: the phone's Contact became the proxy's address, a loop to itself."""
    phone, proxy = await guarded_stage.phone(), await guarded_stage.phone("proxy")
    assert (await register(phone)).status == 200
    await guarded_stage.edge.hears(Registered)
    guarded_stage.edge.send(
        Dial(
            dialog=DialogId("d"),
            trunk="",
            number=Private("alice"),
            caller=Private(""),
            sdp=Private(OFFER),
        )
    )
    invite = await phone.request("INVITE")
    contact = "sip:alice@192.0.2.77:5070;alias=192.0.2.9~5071~3"

    phone.respond(
        invite,
        200,
        headers=(("Record-Route", f"<sip:{proxy.address};lr>"),),
        body=ANSWER,
        contact=f"<{contact}>",
    )

    ack = await proxy.request("ACK")
    assert ack.start.split()[1] == contact
    assert ack.every("route") == [f"<sip:{proxy.address};lr>"]
