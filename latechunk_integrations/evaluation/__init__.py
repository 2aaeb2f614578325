"""Evaluation: golden sets, comparison, tuning, report, plots."""
