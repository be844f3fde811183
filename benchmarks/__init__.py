"""What the project costs and how fast it is, each number beside its peer: `make bench`."""
