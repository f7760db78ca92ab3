"""Predictions of a whole split, metrics, comparisons and the report."""
