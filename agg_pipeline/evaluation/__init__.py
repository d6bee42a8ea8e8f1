"""Evaluation of click models: interactions with every mask, their metrics, and what is made of these.

Where to find what:

- ``run`` evaluates a model; ``run_arms`` evaluates it several times and compares, as ``arms`` defines.
- On the workers: ``mask_choice`` (which masks), ``interactions`` (clicking), ``evaluation_tables`` (rows and files).
- Results: ``results_folder`` (files, opening), ``mask_results`` (mask by mask), ``summary`` (metrics), ``per_class``,
  ``latency``, ``timings``.
- For readers: ``terminal_summary``, ``compare`` (tables side by side), ``published`` (numbers of the paper),
  ``evaluation_page`` with ``granularity_chart`` and ``mask_pictures``.
"""
