"""Layers of the parameters of models made of ViT encoders; `Family.layers`."""

from vivit_jax.models import sizes
from vivit_jax.models.family import Layers, ModelConfig


def of_one_encoder(config: ModelConfig) -> Layers:
  """Returns the layers of a model whose only encoder is `Transformer`."""
  depth = sizes.of(config).layers
  return Layers(
    depth, [('embedding/|cls$', 0), *of_encoder('Transformer', 0, depth)]
  )


def of_two_encoders(config: ModelConfig) -> Layers:
  """Returns the layers of a model with temporal blocks after spatial ones."""
  depth, temporal = sizes.of(config).layers, config.options.temporal_layers
  rules = [
    ('embedding/', 0),
    *of_encoder('SpatialTransformer', 0, depth),
    *of_encoder('TemporalTransformer', depth, temporal),
  ]
  return Layers(depth + temporal, rules)


def of_encoder(encoder: str, first: int, depth: int) -> list:
  """Returns an encoder's rules, given the number of blocks before it.

  Class token and positions belong to the layer before the first block, the norm
  to the layer after the last block.
  """
  return [
    (rf'{encoder}/encoderblock_(\d+)/', lambda block: first + block + 1),
    (rf'{encoder}/posembed_input/', first),
    (rf'{encoder}/encoder_norm/', first + depth + 1),
    (rf'cls_{encoder}$', first),
  ]
