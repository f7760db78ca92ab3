"""Losses, optimiser and training step; `loop` is the trainer.

Importing this package imports neither TensorFlow nor a data pipeline.
"""
