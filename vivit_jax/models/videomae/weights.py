"""VideoMAE's sizes, clips, and what starts from other weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.models import pools, resize, sizes
from vivit_jax.models.pixels import IMAGENET
from vivit_jax.models.weights import Weights

Arrays = Mapping[str, np.ndarray]
NORM = 'Transformer/encoder_norm'
DECODER = 'decoder'  # first part of names of what only the pretraining has
SIZES = {name: sizes.SIZES[name] for name in 'SBLH'} | {
  'g': sizes.GIANT  # of version 2
}
# Config section `data` of the released models.
DATA: dict[str, Any] = {
  'frames': 16,
  'crop': (224, 224),
  'short_side': 224,
  **IMAGENET,
}
RESIZE = (
  ('embedding/kernel', resize.tubelet_kernel),
  ('.*/(query|key|value)/(kernel|bias)|.*/out/kernel', resize.split_heads),
)


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del initial
  if pools.has_norm([name]) and f'{NORM}/scale' in source.arrays:
    return 'the pretraining norms the tokens, not their mean'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source, initial
  if name.startswith(f'{DECODER}/'):
    return 'decoder of the pretraining'
  if name.startswith(f'{NORM}/'):
    return 'a fine-tuned model norms the mean of the tokens instead'
  if name.endswith('/key/bias'):
    return 'it adds the same to all scores of a query: softmax ignores it'
  return None
