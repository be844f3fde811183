"""Signalling with phones and trunks: SDP, and SIP in a process of its own.

Not here: RTP (`rtp/`), what a call does with a phone (`legs/`).
"""
