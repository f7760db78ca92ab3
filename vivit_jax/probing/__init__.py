"""Probes: a grid of heads on a frozen encoder, trained side by side."""
