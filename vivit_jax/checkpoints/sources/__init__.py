"""Readers of checkpoint files, one module per container format.

Formats: msgpack, npz without pickle, safetensors, torch. Nothing in a file is
ever executed. Families interpret array names (`models.family.Import`).
"""

from vivit_jax.checkpoints.sources.detect import place as place
from vivit_jax.checkpoints.sources.detect import read as read
from vivit_jax.checkpoints.sources.detect import within as within
