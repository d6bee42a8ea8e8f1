"""Timings of the click model against a plain reference of the same network."""
