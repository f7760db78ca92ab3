"""Predicts videos: labels, features, time lines, attention; exports models."""
