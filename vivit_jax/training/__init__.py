"""Losses, optimiser, and the step; `loop` is the trainer.

Importing this package imports neither TensorFlow nor a data pipeline.
"""
