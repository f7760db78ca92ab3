"""Differences between a model and the classifiers of another project.

Each is a phrase, 'has no class token', and whether it is true of the model.
"""

from collections.abc import Mapping

from vivit_jax.errors import UserError
from vivit_jax.models import attention_pools, classifier
from vivit_jax.models.weights import Clip, Weights


def refuse(supported: str, *differences: Mapping[str, bool]) -> None:
  """Raises a UserError that names the first true difference.

  `supported` states what the project has: 'torchvision supports Video Swins'.
  """
  for difference, is_true in (
    (k, x) for d in differences for k, x in d.items()
  ):
    if is_true:
      raise UserError(f'{supported}; this model {difference}.')


def from_one_linear_head(
  weights: Weights, attention_pool: bool = False
) -> dict[str, bool]:
  """Returns differences from classifiers with one linear head.

  Args:
    weights: of the model.
    attention_pool: whether the project's classifiers pool by attention.
  """
  arrays, heads = weights.arrays, weights.label_names or ()
  pools = attention_pools.is_attention_pool(arrays)
  model = (weights.experiment or {}).get('model', {})
  per_frame = model.get('attention_pool', {}).get('per_frame', False)
  return {
    'has a representation layer': classifier.has_representation(arrays),
    'pools by attention': pools and not attention_pool,
    'does not pool by attention': attention_pool and not pools,
    'pools the means of frames': pools and per_frame,
    'has no head': classifier.classes_of(arrays) is None,
    f'has the heads {", ".join(heads)}': len(heads) > 1,
  }


def from_squares(weights: Weights, clip: Clip) -> dict[str, bool]:
  """Returns differences from Hugging Face's models, whose clips are square."""
  height, width = weights.arrays['embedding/kernel'].shape[-4:-2]
  return {
    'does not state its attention heads': weights.heads_unknown,
    f'has crops of {clip.crop}': clip.crop[0] != clip.crop[1],
    f'has tubelets of {height} x {width} pixels': height != width,
  }
