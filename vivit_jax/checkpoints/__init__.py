"""Checkpoints: saving, loading, merging and converting them."""
