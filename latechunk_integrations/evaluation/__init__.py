"""Evaluation: golden sets, comparison, tuning, report, plots."""

from latechunk_integrations.evaluation import terminal as _printers  # noqa: F401  # says how values are shown
