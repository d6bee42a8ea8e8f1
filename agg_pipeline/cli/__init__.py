"""The ``agg`` command: one module per group, and the options that they share.

A module imports at its top only what its options need, so that ``--help`` is fast; what a command runs is imported in
its body.
"""
