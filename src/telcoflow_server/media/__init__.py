"""The media plane: every call of the node as rows of arrays. No I/O, no clock."""
