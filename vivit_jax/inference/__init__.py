"""Predicts single videos: labels, features, time lines, attention, export."""
