"""One way for a party to be in a call, one file each."""
