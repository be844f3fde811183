"""The media plane: every call of the node as rows of arrays, one tick at a time. No I/O, no clock."""
