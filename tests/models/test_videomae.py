"""VideoMAE equals transformers' and the authors' code."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from safetensors.numpy import save_file

import vivit_jax
from vivit_jax import models
from vivit_jax.checkpoints import names
from vivit_jax.errors import UserError
from vivit_jax.models import builder, positions, stacking
from vivit_jax.models.family import ModelConfig
from vivit_jax.models.videomae import files
from vivit_jax.models.weights import Clip, Weights

CLIPS = ['', '_frames10', '_crop40', '_frames4_crop16x24']


@functools.cache
def loaded(name='videomae'):
  return vivit_jax.load(reference.FIXTURES / name)


@functools.cache
def compiled(name):
  """Returns a function of a video: logits or features, and blocks' outputs."""
  source = loaded(name)

  def run(video):
    return source.model.apply(
      {'params': source.params},
      video,
      features=name != 'videomae',
      capture_intermediates=lambda module, method: (
        method == '__call__'
        and str(module.name).startswith(('encoderblock', 'posembed'))
      ),
      mutable='intermediates',
    )

  return jax.jit(run)


@pytest.mark.parametrize('name', ['videomae', 'videomae/pretraining'])
@pytest.mark.parametrize('clip', CLIPS)
def test_all_arrays_are_those_of_both_projects(name, clip):
  golden = reference.golden(name)
  with jax.default_matmul_precision('highest'):
    found, captured = compiled(name)(golden[f'video{clip}'])
  kind, output = 'logits', found
  if name == 'videomae':
    output = found['label']
  else:
    kind = 'last_hidden_state'
    output = found.tokens.reshape(golden[f'{kind}{clip}'].shape)
  reference.assert_close(output, golden[f'{kind}{clip}'])
  reference.assert_close(output, golden[f'{kind}_official{clip}'])
  if not clip:
    encoder = captured['intermediates']['Transformer']
    for layer in range(4):
      block = f'encoderblock_{layer - 1}' if layer else 'posembed_input'
      tokens = reference.tokens(encoder[block])
      reference.assert_close(tokens, golden[f'hidden_{layer}'], what=block)


def test_positions_are_the_authors():
  golden = reference.golden('videomae')['positions']
  np.testing.assert_array_equal(positions.interleaved(*golden.shape), golden)


def test_weights_without_a_head_give_features_alone():
  model = loaded('videomae/pretraining')
  golden = reference.golden('videomae/pretraining')
  clips = np.random.default_rng(0).integers(0, 256, (1, 6, 24, 24, 3))
  clips = clips.astype(np.uint8)
  tokens = model.features_of(clips, tokens=True)
  assert tokens.shape == (3, 3, 3, golden['positions'].shape[1])
  reference.assert_close(model.features_of(clips), tokens.mean(axis=(0, 1, 2)))
  with pytest.raises(UserError, match='head'):
    model.predict_clips(clips)


@pytest.mark.parametrize('size, side, counts', [
  ('S', 16, (22_033_936, 21_946_926)),
  ('B', 16, (86_534_800, 86_361_006)),
  ('L', 16, (304_270_736, 304_039_086)),
  ('H', 16, (632_119_440, 631_829_934)),
  ('g', 14, (1_012_174_352, 1_011_855_918)),
])  # fmt: skip
def test_parameters_are_the_authors_to_the_last(size, side, counts):
  for classes, count in zip((400, 174), counts):
    config = ModelConfig(
      'videomae', size, heads={'label': classes}, scan=True,
      options={'tubelet': (2, side, side)},
    )  # fmt: skip
    shapes = builder.shapes(config, 16, (224, 224))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_layers_are_the_papers():
  """Embedding 0, block l is l + 1; the norm of the mean goes with the head."""
  config = loaded().config.model
  layer_of, last = builder.layer_of(config)
  flat = names.flatten(loaded().params)
  found = {name.split('/', 2)[1 if 'block' in name else 0]: layer_of(name)
           for name in flat}  # fmt: skip
  assert last == 4
  assert found == {
    'embedding': 0, 'encoderblock_0': 1, 'encoderblock_1': 2,
    'encoderblock_2': 3, 'fc_norm': 4, 'output_projection': 4,
  }  # fmt: skip


@functools.cache
def loss_and_gradient(**changes):
  """Returns loss and gradients of the fixture in training, blocks unstacked."""
  config = dataclasses.replace(loaded().config.model, **changes)
  model, video = models.build(config), reference.golden('videomae')['video']
  params = loaded().params
  if config.scan:
    params = stacking.stack(params)

  def loss(params):
    logits = model.apply(
      {'params': params},
      video,
      train=True,
      example_B=jnp.array([3, 5]),
      rngs={'stochastic_depth': jax.random.key(0)},
    )
    return (logits['label'] ** 2).sum()

  with jax.default_matmul_precision('highest'):
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
  return value, names.flatten(stacking.unstack(jax.device_get(gradient)))


@pytest.mark.parametrize('changes', [
  {'scan': True, 'remat': 'full', 'attention': 'chunked'},
  {'dtype': 'bfloat16', 'remat': 'dots', 'attention': 'flax'},
])  # fmt: skip
def test_every_computation_gives_the_same_gradient(changes):
  drawn = {'stochastic_depth': 0.5}
  assert loss_and_gradient()[0] != loss_and_gradient(**drawn)[0]
  expected, gradients = loss_and_gradient(**drawn)
  found, others = loss_and_gradient(**drawn, **changes)
  tolerance = 0.1 if 'dtype' in changes else 1e-5
  np.testing.assert_allclose(found, expected, rtol=tolerance)
  assert gradients.keys() == others.keys()
  for name, x in gradients.items():
    atol = 2 * tolerance * np.abs(x).max() + 1e-7
    np.testing.assert_allclose(others[name], x, atol=atol, err_msg=name)


def test_transformers_gives_the_same_logits(tmp_path):
  """It loads the folder that we write, of random weights."""
  torch = pytest.importorskip('torch', reason='torch is not installed')
  transformers = pytest.importorskip('transformers')
  config = ModelConfig(
    'videomae', heads={'label': 5},
    options={'tubelet': (2, 8, 8), 'layers': 2, 'width': 32,
             'attention_heads': 4, 'mlp_width': 40},
  )  # fmt: skip
  draw = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: draw.normal(0, 0.3, x.shape).astype(np.float32),
    builder.shapes(config, 4, (24, 24)),
  )
  arrays = names.flatten(params)
  weights = Weights('', arrays, ('videomae',), options={'norm_epsilon': 1e-6})
  written = files.write(weights, Clip(4, (24, 24), 24))
  save_file(
    written['tensors'], tmp_path / 'model.safetensors', {'format': 'pt'}
  )
  (tmp_path / 'config.json').write_text(json.dumps(written['config.json']))
  kind = transformers.VideoMAEForVideoClassification
  theirs = kind.from_pretrained(tmp_path).eval()
  video = draw.normal(size=(2, 4, 24, 24, 3)).astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(video.transpose(0, 1, 4, 2, 3))).logits
  apply = jax.jit(models.build(config).apply)
  with jax.default_matmul_precision('highest'):
    found = apply({'params': params}, video)['label']
  reference.assert_close(found, expected.numpy())
