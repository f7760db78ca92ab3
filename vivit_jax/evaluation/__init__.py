"""Scoring every example of a split exactly once, and reporting it."""
