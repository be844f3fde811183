"""Offers in the shape real callers send them; addresses are replaced by documentation ones."""

from __future__ import annotations

PHONES = {
    "baresip": """v=0
o=- 1834512376 1009472321 IN IP4 192.0.2.10
s=-
c=IN IP4 192.0.2.10
t=0 0
a=tool:baresip 1.0.0
m=audio 19382 RTP/AVP 0 8 9 101
b=AS:125
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:9 G722/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtcp:19383
a=sendrecv
a=label:1
a=rtcp-rsize
a=ssrc:2871012341 cname:sip:a@example.com
a=ptime:20
a=minptime:20
""",
    "linphone": """v=0
o=linphone 1432 2610 IN IP6 2001:db8::5
s=Talk
c=IN IP6 2001:db8::5
b=AS:380
t=0 0
a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
a=record:off
m=audio 7078 RTP/AVP 96 97 98 0 8 101 99 100
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:97 speex/16000
a=fmtp:97 vbr=on
a=rtpmap:98 speex/8000
a=fmtp:98 vbr=on
a=rtpmap:101 telephone-event/48000
a=rtpmap:99 telephone-event/16000
a=rtpmap:100 telephone-event/8000
a=rtcp:58124
a=rtcp-fb:* trr-int 1000
a=rtcp-fb:* ccm tmmbr
""",
    "sipp": """v=0
o=user1 53655765 2353687637 IN IP4 192.0.2.20
s=-
c=IN IP4 192.0.2.20
t=0 0
m=audio 6000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
""",
    "carrier": """v=0
o=root 1893459723 1893459723 IN IP4 198.51.100.7
s=Twilio Media Gateway
c=IN IP4 198.51.100.7
t=0 0
m=audio 12088 RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:150
a=sendrecv
""",
    "browser": """v=0
o=mozilla...THIS_IS_SDPARTA 4611731400430051336 0 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04
a=group:BUNDLE 0
a=ice-options:trickle
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendrecv
a=rtpmap:109 opus/48000/2
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=rtcp-mux
a=setup:actpass
""",
    "desk phone with video": """v=0
o=- 20047 20047 IN IP4 192.0.2.30
s=SDP data
c=IN IP4 192.0.2.30
t=0 0
m=audio 11780 RTP/AVP 9 0 8 18 96
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:18 G729/8000
a=fmtp:18 annexb=no
a=rtpmap:96 telephone-event/8000
a=fmtp:96 0-15
a=ptime:20
a=sendrecv
m=video 11782 RTP/AVP 99 34
b=AS:512
a=rtpmap:99 H264/90000
a=fmtp:99 profile-level-id=428014; packetization-mode=0
a=rtpmap:34 H263/90000
a=sendrecv
""",
    "SRTP phone": """v=0
o=- 1 1 IN IP4 192.0.2.31
s=-
c=IN IP4 192.0.2.31
t=0 0
m=audio 40000 RTP/SAVP 0 8
a=rtpmap:0 PCMU/8000
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz
""",
    "fax gateway": """v=0
o=GW 5 9 IN IP4 198.51.100.9
s=fax
c=IN IP4 198.51.100.9
t=0 0
m=image 4900 udptl t38
a=T38FaxVersion:0
a=T38MaxBitRate:14400
m=audio 4902 RTP/AVP 8
""",
}
