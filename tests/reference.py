"""The reference's small networks (tests/fixtures), and ours like them."""

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
from flax import serialization

from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.config import TrainConfig

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'
SIZE = {'width': 48, 'attention_heads': 4, 'mlp_width': 96}
MODELS = {  # fixture -> family and what differs from the default
  'model1_joint': ('joint', {}),
  'model2_factorised_encoder': ('factorised_encoder', {'temporal_layers': 2}),
  'model2_average_pooled': ('factorised_encoder', {'temporal_layers': 0}),
  'model3_factorised_self_attention': (
    'factorised_self_attention',
    {'order': 'time_space'},
  ),
  'model4_factorised_dot_product': (
    'factorised_dot_product',
    {'order': 'time_space'},
  ),
}
COMMON = [
  field.name
  for field in dataclasses.fields(models.ModelConfig)
  if field.name != 'options'
]


def flat_config(family: str, **keys) -> models.ModelConfig:
  """Returns a model's config, of common keys and options side by side."""
  common = {key: keys.pop(key) for key in COMMON if key in keys}
  return models.ModelConfig(family, options=keys, **common)


def config(name: str, **changes) -> models.ModelConfig:
  """Returns the config of a fixture's model, 3 blocks deep, with changes."""
  family, own = MODELS[name]
  encoder = family == 'factorised_encoder'
  depth = {'spatial_layers' if encoder else 'layers': 3}
  return flat_config(
    family, **({'heads': {'label': 11}} | SIZE | depth | own | changes)
  )


def joined(output):
  """Returns a block's tokens; the last one's class token is apart."""
  parts = output if isinstance(output, list | tuple) else [output]
  return jnp.concatenate(parts, axis=-2)


def tokens(captured: dict):
  """Returns the tokens of a module whose output was captured."""
  return joined(captured['__call__'][0])


def model(name: str, **changes):
  return models.build(config(name, **changes))


def parameters(name: str) -> dict:
  raw = serialization.msgpack_restore(
    (FIXTURES / name / 'checkpoint').read_bytes()
  )
  if 'optimizer' not in raw:
    return raw['params']
  target = raw['optimizer']['target']
  return target.get('params', target)


def golden(name: str) -> dict[str, np.ndarray]:
  with np.load(FIXTURES / name / 'golden.npz', allow_pickle=False) as arrays:
    return dict(arrays)


def assert_close(found, expected, share=2e-5, what=''):
  """Asserts equality within a share of the largest expected value."""
  atol = share * np.abs(expected).max()
  found = np.asarray(found, np.float32)
  np.testing.assert_allclose(found, expected, atol=atol, err_msg=what)


def assert_same(found, expected):
  """Asserts that two mappings have equal arrays under the same names."""
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def swin_config(window, frames) -> TrainConfig:
  """Returns a config of Video Swin that starts from the fixture swin2d."""
  return configs.from_mapping(
    {
      'init_from': str(FIXTURES / 'swin2d' / 'model.safetensors'),
      'model': {
        'family': 'video_swin',
        'heads': {'label': 5},
        'options': {
          'window': window,
          'width': 8,
          'depths': (2, 2),
          'attention_heads': (2, 4),
        },
      },
      'data': {'frames': frames, 'crop': (28, 44)},
    }
  )
