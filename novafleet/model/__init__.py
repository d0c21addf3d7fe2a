"""Frozen data every layer may import: no I/O, no clock, no randomness."""
