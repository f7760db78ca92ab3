"""Readers of checkpoint files, one module per container format.

Nothing in a file is ever executed: msgpack, npz without pickle, safetensors.
Families interpret the names in a file (`models.family.Import`).
"""

from vivit_jax.checkpoints.sources.detect import place as place
from vivit_jax.checkpoints.sources.detect import read as read
from vivit_jax.checkpoints.sources.detect import within as within
