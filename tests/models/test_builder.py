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
  ('key', 'value', 'named'),
  [
    ('family', 'factorized_encoder', "'factorised_encoder'"),
    ('size', 'XL', 'model.size .* Ti, S, B, L, H'),
    ('size', 'Ti', '3.*model.size'),  # an odd number of heads
    ('order', 'time_first', "model.options.order .*'time_space'"),
    ('tubelets', (2, 8, 8), "model.options.tubelets.*'tubelet'"),
    ('pool', 'token', 'model.pool .* mean, attention'),
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


@pytest.mark.parametrize('key', ['remat', 'order'])
def test_choices_are_checked_however_a_config_was_made(key):
  config = reference.config('model3_factorised_self_attention')
  if key in reference.COMMON:
    config = dataclasses.replace(config, **{key: 'other'})
  else:
    options = dataclasses.replace(config.options, **{key: 'other'})
    config = dataclasses.replace(config, options=options)
  with pytest.raises(UserError, match=f"{key} .*'other'"):
    models.build(config)


def test_a_name_is_of_one_family():
  with pytest.raises(ValueError, match='joint'):
    families.register(families.get('joint'))


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
}


@pytest.mark.parametrize('family', LAYERS)
def test_layers_by_hand(family):
  layer_of, last = builder.layer_of(reference.config(NAMES[family]))
  assert last == (6 if family == 'factorised_encoder' else 4)
  assert {name: layer_of(name) for name in LAYERS[family]} == LAYERS[family]
  with pytest.raises(UserError, match='adapter/kernel'):
    layer_of('adapter/kernel')


@pytest.mark.parametrize('name', reference.MODELS)
def test_every_parameter_has_a_layer(name):
  config = reference.config(name, pool='attention', representation=5)
  layer_of, last = builder.layer_of(config)
  shapes = builder.shapes(config, 8, (48, 48))
  names = traverse_util.flatten_dict(shapes, sep='/')
  assert {layer_of(name) for name in names} == set(range(last + 1))
