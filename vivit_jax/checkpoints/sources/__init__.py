"""Checkpoints of every kind, read by content.

Nothing in a file is ever executed: msgpack, npz without pickle, safetensors.
What a file's names mean is its family's to say (`models.family.Import`).
"""

from vivit_jax.checkpoints.sources.detect import place as place
from vivit_jax.checkpoints.sources.detect import read as read
from vivit_jax.checkpoints.sources.detect import within as within
