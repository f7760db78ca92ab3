"""The arithmetic and the measurements of benchmarks, on what is small."""

import jax
import jax.extend
import numpy as np
import pytest

from benchmarks import (
  checkpoint_stall,
  contestants,
  plain,
  scaling,
  weak_scaling,
)
from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.models import table
from vivit_jax.models.sizes import SIZES

FAMILIES = {  # of two layers
  'joint': {'layers': 2},
  'factorised_encoder': {'spatial_layers': 2, 'temporal_layers': 2},
  'factorised_self_attention': {'layers': 2, 'temporal_init': 'random'},
  'factorised_dot_product': {'layers': 2},
}
MACHINE = scaling.Machine('two', 2, 1, teraflops=1.0, memory=8.0, bandwidth=4.0)
TINY = table.Case(
  'tiny',
  models.ModelConfig(
    'factorised_encoder',
    'Ti',
    heads={'label': 400},
    options={'tubelet': (2, 8, 8), 'temporal_layers': 2},
  ),
  frames=8,
  crop=32,
)


def test_an_all_reduce_sends_twice_what_the_others_have():
  # Of 100 float32, each of 4 devices sends 3 quarters, twice.
  assert scaling.all_reduce_bytes(100, 4) == 600
  assert scaling.all_reduce_bytes(100, 1) == 0


def test_a_step_is_three_forward_passes():
  # 3 passes x 2 operations x 5e9 x 4 clips, at half of 1e12 a second.
  assert scaling.step_seconds(5.0, 4, MACHINE, 0.5) == pytest.approx(0.24)


def test_remat_keeps_less_and_clips_keep_more():
  kept = {
    (batch, remat): scaling.activation_bytes(TINY, batch, remat)
    for batch in (2, 4)
    for remat in ('none', 'dots', 'full')
  }
  for batch in (2, 4):
    assert kept[batch, 'none'] > kept[batch, 'dots'] > kept[batch, 'full'] > 0
  assert kept[4, 'none'] == pytest.approx(2 * kept[2, 'none'], rel=0.25)


def test_the_machines_are_what_their_makers_say():
  pod, server = scaling.MACHINES
  assert pod.devices * 2 == 32  # TensorCores of v4-32
  assert pod.devices / pod.hosts == 4
  assert server.teraflops == pytest.approx(989.5)


@pytest.mark.slow
def test_weak_scaling_times_a_step():
  passed, used = weak_scaling.measure(batch=2, steps=2)
  assert 0 < passed < 60 and 0 < used < 60


@pytest.mark.slow
def test_the_stall_is_shorter_than_the_writing(tmp_path):
  config = configs.default()
  config.model.size = 'Ti'
  config.model.heads = {'label': 3}
  config.model.options.spatial_layers = 1
  config.model.options.temporal_layers = 1
  config.data.frames, config.data.crop = 4, (32, 32)
  config.data.short_side = 32
  config = configs.resolve(config)
  state = checkpoint_stall.random_state(config)
  saving = checkpoint_stall.save(state, config, str(tmp_path))
  parts = [getattr(saving, part) for part in checkpoint_stall._PARTS]
  assert min(parts) > 0
  assert sum(parts) == pytest.approx(saving.stall)
  assert saving.stall < saving.written
  with checkpoint_stall.Store(tmp_path) as store:
    restored = store.restore(1, jax.tree.map(lambda x: x[0], state))
  for there, here in zip(jax.tree.leaves(restored), jax.tree.leaves(state)):
    np.testing.assert_array_equal(there, here[0])
  assert checkpoint_stall.step_seconds(state, config, steps=1) > 0


@pytest.mark.parametrize('family', FAMILIES)
def test_the_plain_form_is_the_same_model(family):
  """What the benchmarks compare with computes what ours does."""
  config = models.ModelConfig(
    family,
    'S',
    heads={'label': 5},
    options={'tubelet': (2, 8, 8), **FAMILIES[family]},
  )
  ours = models.build(config)
  size = SIZES['S']
  theirs = plain.Model(
    family=family,
    layers=2,
    temporal_layers=2,
    heads=size.attention_heads,
    width=size.width,
    mlp=size.mlp,
    tubelet=(2, 8, 8),
    classes=5,
  )
  draw = np.random.default_rng(0)
  video = draw.normal(size=(2, 8, 16, 24, 3)).astype(np.float32)
  shapes = jax.eval_shape(ours.init, jax.random.key(0), video)
  params = jax.tree.map(
    lambda x: draw.normal(scale=0.05, size=x.shape).astype(np.float32), shapes
  )
  found = theirs.apply(params, video)
  expected = ours.apply(params, video)['label']
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('family', FAMILIES)
def test_the_plain_form_computes_in_the_precision_asked_for(family):
  """All its products but the head's, which is in float32 as ours."""
  arguments = contestants.with_defaults(
    family=family, size='Ti', layers=1, frames=4, crop=32, dtype='bfloat16'
  )
  program = contestants.plain_program(arguments)
  params, _, video, _ = program.shapes(arguments)
  products = [
    (equation.primitive.name, {str(x.aval.dtype) for x in equation.invars})
    for equation in _equations(jax.make_jaxpr(program.forward)(params, video))
    if equation.primitive.name in ('dot_general', 'conv_general_dilated')
  ]
  assert products[0] == ('conv_general_dilated', {'bfloat16'})
  *inner, head = [types for _, types in products]
  assert head == {'float32'} and inner == [{'bfloat16'}] * len(inner)


def _equations(jaxpr):
  """Yields those of calls in it too."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from _equations(inner)
