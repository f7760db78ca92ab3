"""Which parameters decay, freeze and learn slower, by their names."""

import numpy as np
import pytest
import reference
from flax import traverse_util

from vivit_jax.config import OptimConfig
from vivit_jax.errors import UserError
from vivit_jax.models import builder, stacking
from vivit_jax.training import param_groups

DECAY = 0.5
LAYERS_OF_BOTH = {'spatial_layers': 3, 'temporal_layers': 2}
# Three spatial blocks and two temporal ones: L is 5, the head is layer 6.
LAYERS = {
  'embedding/kernel': 0,
  'cls_SpatialTransformer': 0,
  'SpatialTransformer/posembed_input/pos_embedding': 0,
  'SpatialTransformer/encoderblock_0/LayerNorm_0/scale': 1,
  'SpatialTransformer/encoderblock_1/LayerNorm_0/scale': 2,
  'SpatialTransformer/encoderblock_2/MlpBlock_0/Dense_0/kernel': 3,
  'SpatialTransformer/encoder_norm/scale': 4,
  'cls_TemporalTransformer': 3,
  'TemporalTransformer/posembed_input/pos_embedding': 3,
  'TemporalTransformer/encoderblock_0/MlpBlock_0/Dense_1/bias': 4,
  'TemporalTransformer/encoderblock_1/LayerNorm_1/bias': 5,
  'TemporalTransformer/encoder_norm/bias': 6,
  'pre_logits/kernel': 6,
  'output_projection/kernel': 6,
  'output_projection/bias': 6,
}


def model(**changes):
  """Returns the config of a small factorised encoder, or another model."""
  return reference.flat_config(
    **dict(
      family='factorised_encoder',
      size='Ti',
      heads={'label': 3},
      tubelet=(2, 8, 8),
      representation=8,
    )
    | (changes if 'family' in changes else LAYERS_OF_BOTH | changes)
  )


def shapes(**changes) -> dict:
  """Returns its parameters, as shapes."""
  return builder.shapes(model(**changes), 4, (16, 16))


def scales(**changes) -> dict:
  return flat(
    param_groups.layer_scales(shapes(**changes), DECAY, model(**changes))
  )


def flat(tree) -> dict:
  return traverse_util.flatten_dict(tree, sep='/')


NAMES = {
  'kernels': [
    'Transformer/encoderblock_3/Conv_q/kernel',
    'output_projection/kernel',
  ],
  'tables': [
    'Transformer/encoderblock_3/rel_pos_h',
    'Transformer/posembed_input/pos_embedding',
    'pos_embed_spatial',
    'stage_0/encoderblock_1/relative_position_bias_table',
  ],
  'tokens': ['cls', 'cls_TemporalTransformer'],
  'biases': [
    'Transformer/encoderblock/MultiHeadDotProductAttention_0/key/bias',
    'embedding/bias',
  ],
  'norms': [
    'Transformer/encoderblock/LayerNorm_0/bias',
    'Transformer/encoder_norm/scale',
    'stage_0/norm_q/bias',
  ],
}


@pytest.mark.parametrize(
  'on, kinds',
  [
    ('kernels', ['kernels']),
    ('matrices', ['kernels', 'tables', 'tokens']),  # MViT
    ('not_norms', ['kernels', 'tokens', 'biases']),  # Video Swin
    ('all', list(NAMES)),
  ],
)
def test_parameters_with_weight_decay(on, kinds):
  """A bias has weight decay by its name: [L, heads, d] has three axes too."""
  every = [name for names in NAMES.values() for name in names]
  params = {name: np.zeros((2, 2, 2)) for name in every}
  params = traverse_util.unflatten_dict(params, sep='/')
  mask = flat(param_groups.decay_mask(params, on))
  found = sorted(name for name, value in mask.items() if value)
  assert found == sorted(name for kind in kinds for name in NAMES[kind])


def test_rates_fall_from_the_head_to_the_embedding():
  found = scales()
  assert {name: found[name] for name in LAYERS} == {
    name: DECAY ** (6 - layer) for name, layer in LAYERS.items()
  }


def test_stacked_layers_have_a_vector_of_rates():
  found = scales(scan=True)
  kernel = 'encoderblock/MlpBlock_0/Dense_0/kernel'
  np.testing.assert_array_equal(
    found[f'SpatialTransformer/{kernel}'],
    np.reshape([1 / 32, 1 / 16, 1 / 8], (3, 1, 1)),
  )
  np.testing.assert_array_equal(
    found['TemporalTransformer/encoderblock/LayerNorm_1/bias'],
    np.reshape([1 / 4, 1 / 2], (2, 1)),
  )
  rest = {n: x for n, x in found.items() if 'encoderblock' not in n}
  alone = scales()
  assert rest == {n: x for n, x in alone.items() if 'encoderblock' not in n}


def test_one_encoder_is_as_in_beit():
  found = scales(family='joint', layers=2, representation=None)
  assert found['cls'] == found['embedding/bias'] == DECAY**3
  assert found['Transformer/posembed_input/pos_embedding'] == DECAY**3
  assert found['Transformer/encoderblock_1/LayerNorm_0/bias'] == DECAY
  assert found['Transformer/encoder_norm/bias'] == 1.0


@pytest.mark.parametrize('scan', [False, True])
def test_parameters_that_a_pattern_freezes(scan):
  params = shapes(scan=scan)
  patterns = OptimConfig(freeze='^embedding/|^SpatialT.*/LayerNorm_0')
  found = flat(param_groups.trainable(params, patterns))
  names = [name for name, value in found.items() if not value]
  block = 'SpatialTransformer/encoderblock'
  blocks = [block] if scan else [f'{block}_{n}' for n in range(3)]
  norms = [f'{b}/LayerNorm_0/{x}' for b in blocks for x in ('bias', 'scale')]
  assert sorted(names) == sorted(['embedding/bias', 'embedding/kernel', *norms])


def test_names_are_those_of_checkpoints():
  params, stacked = shapes(), shapes(scan=True)
  names = [
    name
    for path, x in traverse_util.flatten_dict(stacked).items()
    for name in stacking.names(path, x.shape)
  ]
  assert sorted(names) == sorted(flat(params))


@pytest.mark.parametrize(
  'scan, patterns, named',
  [
    (False, {'freeze': '^embeding'}, "optim.freeze.*'embedding'"),
    (False, {'freeze': '^SpatialTransformr/'}, "'SpatialTransformer'"),
    (False, {'freeze': '^head'}, 'optim.freeze [^?]*$'),  # nothing is near
    (True, {'freeze': 'block_0'}, 'block_0/.*block_1/.*model.scan=False'),
    (False, {'train': '^nothing'}, 'optim.train'),
    (
      False,
      {'train': '^embedding', 'freeze': '^embedding'},
      'optim.train .*optim.freeze',
    ),
  ],
)
def test_a_pattern_that_does_not_fit_is_refused(scan, patterns, named):
  with pytest.raises(UserError, match=named):
    param_groups.trainable(shapes(scan=scan), OptimConfig(**patterns))


@pytest.mark.parametrize('scan', [False, True])
def test_parameters_that_a_pattern_trains(scan):
  """Together with `freeze`; modules that are frozen as a whole are listed."""
  params = shapes(scan=scan)
  patterns = OptimConfig(train='^TemporalT|^output_proj', freeze='LayerNorm_1')
  chosen = param_groups.trainable(params, patterns)
  names = [name for name, value in flat(chosen).items() if value]
  assert all(n.startswith(('TemporalT', 'output_projection')) for n in names)
  assert not any('LayerNorm_1' in name for name in names)
  assert any('LayerNorm_0' in name for name in names)
  frozen = param_groups.frozen_modules(chosen, params)
  assert {'embedding', 'pre_logits', 'SpatialTransformer'} <= frozen
  assert 'SpatialTransformer/encoderblock_2' in frozen
  assert 'TemporalTransformer/encoderblock_1/LayerNorm_1' in frozen
  assert 'TemporalTransformer/encoderblock_1' not in frozen
  assert 'output_projection' not in frozen


def test_a_parameter_without_a_layer_is_refused():
  strange = shapes() | {'adapter': {'kernel': np.zeros((2, 2))}}
  with pytest.raises(UserError, match='adapter/kernel.*optim.layer_decay'):
    param_groups.layer_scales(strange, DECAY, model())
