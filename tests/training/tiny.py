"""A tiny ViViT and its training state, without compiling an initialiser."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import reference
from demo import dotted

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.training import step

SIZE = {'width': 16, 'attention_heads': 2, 'mlp_width': 32}


def config(**changes) -> configs.TrainConfig:
  """Returns an experiment of tiny clips; a change is named `section__key`."""
  config = configs.default()
  config.data.frames, config.data.crop = 2, (16, 16)
  config.data.short_side, config.data.workers = 16, 0
  config.augment.flip = 0.0
  config.train.batch_size = 8
  config.update_from_flattened_dict(dotted(changes))
  return configs.resolve(config)


def model_config(family: str = 'joint', **changes) -> models.ModelConfig:
  """Returns the config of a model of one block, or of one in each encoder."""
  layers = {'layers': 1}
  if family == 'factorised_encoder':
    layers = {'spatial_layers': 1, 'temporal_layers': 1}
  keys = dict(family=family, heads={'label': 3}, tubelet=(2, 8, 8))
  return reference.flat_config(**(keys | SIZE | layers | changes))


def model(family: str = 'joint', **changes) -> nn.Module:
  return models.build(model_config(family, **changes))


def state(
  model: nn.Module,
  optimiser: optax.GradientTransformation,
  config: configs.TrainConfig,
) -> step.TrainState:
  """Returns random parameters, the head's too: zeros would hide the rest."""
  shapes = jax.eval_shape(lambda: step.initialise(model, optimiser, config))
  draw = np.random.default_rng(5)

  def fill(path, x):
    mean = 1.0 if path[-1].key == 'scale' else 0.0
    return jnp.asarray(draw.normal(mean, 0.1, x.shape), x.dtype)

  params = jax.tree_util.tree_map_with_path(fill, shapes.params)
  opt_state = jax.jit(optimiser.init)(params)
  new = step.TrainState(jnp.int32(0), params, opt_state)
  return step.with_parameters(new, params, config)
