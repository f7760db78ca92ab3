"""Which parameters decay, freeze and learn slower, by their names."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from vivit_jax import models
from vivit_jax.errors import UserError
from vivit_jax.models import stacking
from vivit_jax.training import parameters

DECAY = 0.5
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


def shapes(**changes) -> dict:
  """Returns the parameters of a small factorised encoder, as shapes."""
  model = models.build(
    **dict(
      family='factorised_encoder',
      size='Ti',
      heads={'label': 3},
      tubelet=(2, 8, 8),
      spatial_layers=3,
      temporal_layers=2,
      representation=8,
    )
    | changes
  )
  video = np.zeros((1, 4, 16, 16, 3), np.float32)
  return jax.eval_shape(model.init, jax.random.key(0), video)['params']


def flat(tree) -> dict:
  return traverse_util.flatten_dict(tree, sep='/')


def test_only_kernels_decay():
  params = {
    'dense': {'kernel': 1.0, 'bias': 1.0},
    'encoder_norm': {'scale': 1.0},
    'posembed_input': {'pos_embedding': 1.0},
    'cls_SpatialTransformer': 1.0,
  }
  true = [
    name for name, value in flat(parameters.decayed(params)).items() if value
  ]
  assert true == ['dense/kernel']


def test_rates_fall_from_the_head_to_the_embedding():
  found = flat(parameters.layer_scales(shapes(), DECAY))
  assert {name: found[name] for name in LAYERS} == {
    name: DECAY ** (6 - layer) for name, layer in LAYERS.items()
  }


def test_stacked_layers_have_a_vector_of_rates():
  found = flat(parameters.layer_scales(shapes(scan=True), DECAY))
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
  alone = flat(parameters.layer_scales(shapes(), DECAY))
  assert rest == {n: x for n, x in alone.items() if 'encoderblock' not in n}


def test_one_encoder_is_as_in_beit():
  params = shapes(family='joint', spatial_layers=2, representation=None)
  found = flat(parameters.layer_scales(params, DECAY))
  assert found['cls'] == found['embedding/bias'] == DECAY**3
  assert found['Transformer/posembed_input/pos_embedding'] == DECAY**3
  assert found['Transformer/encoderblock_1/LayerNorm_0/bias'] == DECAY
  assert found['Transformer/encoder_norm/bias'] == 1.0


@pytest.mark.parametrize('scan', [False, True])
def test_what_a_pattern_freezes(scan):
  params = shapes(scan=scan)
  found = flat(parameters.frozen(params, '^embedding/|^SpatialT.*/LayerNorm_0'))
  names = [name for name, value in found.items() if value]
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
  'scan, pattern, words',
  [
    (False, '^embeding', "with .*SpatialT.*. Did you mean 'embedding'"),
    (True, 'encoderblocks_0/', "no parameter: .*mean 'encoderblock_0'"),
    (False, '^SpatialTransformr/', "mean 'SpatialTransformer'"),
    (False, '^head', 'no parameter: [^?]*$'),  # nothing near
    (False, '', 'every parameter, .* too: leave some'),
    (True, 'block_0', 'block_0/.* but not .*block_1/.*model.scan=False'),
  ],
)
def test_a_pattern_that_does_not_fit(scan, pattern, words):
  with pytest.raises(UserError, match=words):
    parameters.frozen(shapes(scan=scan), pattern)
