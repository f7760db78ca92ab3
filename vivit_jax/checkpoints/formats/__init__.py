"""Everybody's checkpoints: read by content, in the reference's names.

Nothing in a file is ever executed: msgpack, npz without pickle, safetensors.
"""

from vivit_jax.checkpoints.formats.recognise import place as place
from vivit_jax.checkpoints.formats.recognise import read as read
from vivit_jax.checkpoints.formats.recognise import within as within
from vivit_jax.checkpoints.formats.weights import Weights as Weights
