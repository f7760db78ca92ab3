"""What can be built, and which layer each parameter belongs to."""

import dataclasses

import pytest
import reference
from flax import traverse_util

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.models import builder
from vivit_jax.models import family as families


@pytest.mark.parametrize(
  ('family', 'option', 'named'),
  [
    ('joint', 'temporal_layers', ['factorised_encoder', 'joint']),
    (
      'factorised_encoder',
      'layers',
      ['joint', 'factorised_self_attention', 'factorised_dot_product'],
    ),
    ('factorised_dot_product', 'temporal_init', ['factorised_self_attention']),
    ('joint', 'tubelets', ["'tubelet'"]),
  ],
)
def test_an_option_of_another_family_is_refused(family, option, named):
  with pytest.raises(UserError, match=f'model.options.{option}') as caught:
    models.ModelConfig(family, options={option: 2})
  assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
  ('key', 'value', 'named'),
  [
    ('family', 'factorized_encoder', "'factorised_encoder'"),
    ('size', 'XL', 'model.size .* Ti, S, B, L, H'),
    ('size', 'Ti', '3.*model.size'),  # an odd number of heads
    ('tubelet_init', 'centre_frame', "model.options.tubelet_init .*'central_f"),
    ('positions', 'sinusoid_3d', "model.options.positions .*'sinusoidal_3d'"),
    ('order', 'time_first', "model.options.order .*'time_space'"),
    ('pool', 'cls', 'model.pool .* mean, attention'),
    ('pool', 'token', 'model.pool .*class token'),
    ('remat', 'all', 'model.remat .* none, dots, full'),
    ('dtype', 'float16', "model.dtype .*'bfloat16'"),
  ],
)
def test_models_that_cannot_be_built_are_refused(key, value, named):
  keys = {
    'family': 'factorised_dot_product',
    'size': 'S',
    'heads': {'label': 3},
  }
  with pytest.raises(UserError, match=named):
    models.build(reference.flat_config(**keys | {key: value}))


@pytest.mark.parametrize(
  ('changes', 'key'),
  [
    ({'remat': 'all'}, 'model.remat'),
    ({'dtype': 'float16'}, 'model.dtype'),
    ({'attention': 'fused'}, 'model.attention'),
    ({'depth_rates': 'linear'}, 'model.depth_rates'),
    ({'gelu': 'fast'}, 'model.options.gelu'),
    ({'order': 'space'}, 'model.options.order'),
  ],
)
def test_choices_are_checked_however_a_config_was_made(changes, key):
  config = reference.config('model3_factorised_self_attention')
  name, value = next(iter(changes.items()))
  if name in reference.COMMON:
    config = dataclasses.replace(config, **changes)
  else:
    options = dataclasses.replace(config.options, **changes)
    config = dataclasses.replace(config, options=options)
  with pytest.raises(UserError, match=f"{key} .*'{value}'"):
    models.build(config)


@pytest.fixture
def unrolled():
  """Returns the name of a family whose blocks cannot be stacked."""
  family = dataclasses.replace(
    families.get('joint'), name='unrolled', supports=('dtype',)
  )
  families.register(family)
  yield 'unrolled'
  families.unregister('unrolled')


def test_scan_is_refused_where_blocks_cannot_be_stacked(unrolled):
  config = models.ModelConfig(unrolled, heads={'label': 2})
  models.check(config)
  with pytest.raises(UserError, match='model.scan .*unrolled'):
    models.build(dataclasses.replace(config, scan=True))
  models.check(dataclasses.replace(config, family='joint', scan=True))


def test_a_name_is_of_one_family(unrolled):
  other = dataclasses.replace(families.get('joint'), name=unrolled)
  with pytest.raises(ValueError, match='unrolled'):
    families.register(other)
  for changes in ({'pools': ()}, {'pool_sizes': None}):
    broken = dataclasses.replace(other, name='broken', **changes)
    with pytest.raises(ValueError, match='broken'):
      families.register(broken)


HEADS = {
  'pre_logits/kernel': 4,
  'output_projection/bias': 4,
  'MAPHead_0/probe': 4,
}
ONE_ENCODER = HEADS | {
  'embedding/kernel': 0,
  'embedding/bias': 0,
  'Transformer/posembed_input/pos_embedding': 0,
  'Transformer/encoder_norm/scale': 4,
}
LAYERS = {  # of 3 blocks
  'joint': ONE_ENCODER
  | {
    'cls': 0,
    'Transformer/encoderblock_0/LayerNorm_0/scale': 1,
    'Transformer/encoderblock_1/MlpBlock_0/Dense_1/kernel': 2,
    'Transformer/encoderblock_2/MultiHeadDotProductAttention_0/out/bias': 3,
  },
  'factorised_self_attention': ONE_ENCODER
  | {
    'Transformer/encoderblock_0/LayerNorm_time/scale': 1,
    'Transformer/encoderblock_1/MlpBlock/Dense_1/kernel': 2,
    'Transformer/encoderblock_2/MultiHeadDotProductAttention_space/out/bias': 3,
  },
  'factorised_dot_product': ONE_ENCODER
  | {
    'Transformer/encoderblock_0/LayerNorm_0/scale': 1,
    'Transformer/encoderblock_1/MlpBlock_0/Dense_1/kernel': 2,
    'Transformer/encoderblock_2/MultiHeadDotProductAttention_0/out/bias': 3,
  },
  'factorised_encoder': dict.fromkeys(HEADS, 6)  # of 2 more blocks
  | {
    'embedding/kernel': 0,
    'cls_SpatialTransformer': 0,
    'SpatialTransformer/posembed_input/pos_embedding': 0,
    'SpatialTransformer/encoderblock_0/LayerNorm_0/scale': 1,
    'SpatialTransformer/encoderblock_1/MlpBlock_0/Dense_1/kernel': 2,
    'SpatialTransformer/encoderblock_2/LayerNorm_1/bias': 3,
    'SpatialTransformer/encoder_norm/bias': 4,
    'cls_TemporalTransformer': 3,
    'TemporalTransformer/posembed_input/pos_embedding': 3,
    'TemporalTransformer/encoderblock_0/LayerNorm_0/scale': 4,
    'TemporalTransformer/encoderblock_1/MlpBlock_0/Dense_0/bias': 5,
    'TemporalTransformer/encoder_norm/scale': 6,
  },
}
NAMES = {
  'joint': 'model1_joint',
  'factorised_encoder': 'model2_factorised_encoder',
  'factorised_self_attention': 'model3_factorised_self_attention',
  'factorised_dot_product': 'model4_factorised_dot_product',
}


@pytest.mark.parametrize('family', LAYERS)
def test_layers_by_hand(family):
  layer_of, last = builder.layer_of(reference.config(NAMES[family]))
  assert last == (6 if family == 'factorised_encoder' else 4)
  assert {name: layer_of(name) for name in LAYERS[family]} == LAYERS[family]


@pytest.mark.parametrize('pool', ['token', 'attention'])
@pytest.mark.parametrize('family', LAYERS)
def test_every_parameter_has_a_layer(family, pool):
  if pool not in families.get(family).pools:
    pool = 'mean'
  config = reference.config(NAMES[family], pool=pool, representation=5)
  layer_of, last = builder.layer_of(config)
  flat = traverse_util.flatten_dict(
    builder.shapes(config, 8, (48, 48)), sep='/'
  )
  assert {layer_of(name) for name in flat} == set(range(last + 1))


@pytest.mark.parametrize('family', LAYERS)
def test_a_parameter_of_no_rule_is_an_error(family):
  layer_of, _ = builder.layer_of(reference.config(NAMES[family]))
  with pytest.raises(UserError, match='adapter/kernel'):
    layer_of('adapter/kernel')
