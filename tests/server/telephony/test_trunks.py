"""Whether a trunk can be used, as metrics and the log tell it; and phones that share an account."""

from __future__ import annotations

import logging

import pytest

from telcoflow_server.call.ports import DialRequest
from telcoflow_server.sip.accounts import EdgeSettings, Extension, Private, Trunk
from telcoflow_server.sip.digest import Algorithm, ha1
from tests.server.telephony.conftest import OpenOffice
from tests.support.sip_phone import SipPhone, register

pytestmark = pytest.mark.slow


async def test_a_trunk_is_up_while_it_answers(
    open_office: OpenOffice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telcoflow_server.telephony")
    carrier = await SipPhone.open(("127.0.0.1", 9), "carrier")
    trunk = Trunk(name="carrier", host="127.0.0.1", port=carrier.port, keep_alive_s=0.1)
    office = await open_office(EdgeSettings(port=0, trunks=(trunk,)))
    office.closes(carrier.close)
    carrier.server = office.telephony.edge.address
    assert office.telephony.trunks == {"carrier": False}

    carrier.respond(await carrier.request("OPTIONS"), 200)
    await office.until(lambda: office.telephony.trunks["carrier"])
    carrier.respond(await carrier.request("OPTIONS"), 503)
    await office.until(lambda: not office.telephony.trunks["carrier"])

    assert [record.getMessage() for record in caplog.records] == [
        "trunk carrier answers",
        "trunk carrier does not answer",
    ]


async def test_a_trunk_that_refuses_our_registration_is_not_up(
    open_office: OpenOffice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "telcoflow_server.telephony")
    carrier = await SipPhone.open(("127.0.0.1", 9), "carrier")
    trunk = Trunk(
        name="carrier",
        host="127.0.0.1",
        port=carrier.port,
        user="us",
        password=Private("secret"),
        registers=True,
        keep_alive_s=0,
    )
    settings = EdgeSettings(port=0, trunks=(trunk,))
    office = await open_office(settings)
    office.closes(carrier.close)
    carrier.server = office.telephony.edge.address

    carrier.respond(await carrier.request("REGISTER"), 200, headers=(("Expires", "600"),))
    await office.until(lambda: office.telephony.trunks["carrier"])
    office.telephony.reconfigure(settings, office.routes)
    assert office.telephony.trunks == {"carrier": True}

    office.telephony.reconfigure(EdgeSettings(port=0), office.routes)
    assert office.telephony.trunks == {}
    assert "registered at trunk carrier" in caplog.text
    assert "secret" not in caplog.text


async def test_an_account_is_reached_until_its_last_phone_has_gone(
    open_office: OpenOffice,
) -> None:
    """Found in review: one phone that left took the other one's registration along."""
    extension = Extension(
        user="alice", ha1_md5=Private(ha1(Algorithm.MD5, "alice", "telcoflow", "secret"))
    )
    office = await open_office(EdgeSettings(port=0, extensions=(extension,)))
    desk, mobile = await office.phone(), await office.phone()
    request = DialRequest("call", "c1", "alice", "200")
    for phone in (desk, mobile):
        assert (await register(phone)).status == 200
    await office.until(lambda: office.telephony.edge.statistics().registrations == 2, 10)

    await register(mobile, headers=(("Expires", "0"),))
    await office.until(lambda: office.telephony.edge.statistics().registrations == 1, 10)
    rung = office.telephony.dial(request)
    await register(desk, headers=(("Expires", "0"),))
    await office.until(lambda: office.telephony.edge.statistics().registrations == 0, 10)

    assert rung is not None
    assert office.telephony.dial(request) is None
