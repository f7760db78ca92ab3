"""V-JEPA 2's sizes and clips, and arrays that change or are left over."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.models import resize, sizes
from vivit_jax.models.attention_pools import NAME
from vivit_jax.models.family import AttentionPool, Resized, Resizing
from vivit_jax.models.pixels import IMAGENET
from vivit_jax.models.weights import Weights

Arrays = Mapping[str, np.ndarray]
PREDICTOR = 'predictor'  # first part of names of what only the pretraining has
FIXED_POSITIONS = 'fixed_positions'
SIZES = {name: sizes.SIZES[name] for name in 'LH'} | {
  'g': sizes.Size(40, 22, 1408, 6144)
}
# Of the authors' probes; transformers has the epsilon 1e-6, and the heads of
# the encoder.
POOL = AttentionPool(form='vjepa', heads=16, blocks=3, epsilon=1e-5)
# Width -> blocks whose tokens the probes of some datasets pool together.
FEATURES_OF = {1024: (17, 19, 21, 23), 1408: (24, 29, 34, 39)}
# Classes of these datasets: Diving48, and Jester.
OF_SEVERAL_BLOCKS = {48: 'Diving48', 27: 'Jester'}


def short_side(crop: int) -> int:
  """Returns the short side of frames before a crop, in pixels."""
  return crop * 256 // 224


# Config section `data` of the released models.
DATA: dict[str, Any] = {
  'frames': 64,
  'crop': (256, 256),
  'short_side': short_side(256),
  **IMAGENET,
}


def regrouped(array: Resizing) -> Resized:
  """Returns an array of the pool, with other attention heads if needed."""
  value, initial = array.value, array.initial
  if value.shape == initial.shape or value.size != initial.size:
    return value, ''
  # Heads precede their entries.
  return value.reshape(initial.shape), f'{value.shape} -> {initial.shape}'


RESIZE = (
  ('embedding/kernel', resize.tubelet_kernel),
  (f'{NAME}/.*', regrouped),
  ('.*/(query|key|value)/(kernel|bias)|.*/out/kernel', resize.split_heads),
)


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source, initial
  if name.startswith(f'{PREDICTOR}/'):
    return 'predictor of the pretraining'
  if name == FIXED_POSITIONS:
    return 'positions are rotary'
  return None
