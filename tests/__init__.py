"""Tests. A package of its own name: sippy installs another `tests`, which would be found first."""
