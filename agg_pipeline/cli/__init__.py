"""The ``agg`` command: one module for each of its groups, and the options that they share."""
