"""Measurements of speed, size and memory. Every module is a command; ``python -m benchmarks`` runs most of them."""
