"""Measurements of speed, size and memory; each module is a command, ``python -m benchmarks`` runs most of them."""
