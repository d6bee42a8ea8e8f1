"""Evaluation: interactions with every mask, their metrics, tables, comparison and report."""
