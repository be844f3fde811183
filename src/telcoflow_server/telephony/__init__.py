"""SIP phones in calls: the exchange on one side, the SIP process and RTP ports on the other."""
