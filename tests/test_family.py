"""A new family of models is one file: everything else works unchanged."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import flax
import jax
import numpy as np
import pytest
from jax import export as jax_export

import vivit_jax
from vivit_jax import config as configs
from vivit_jax import config_file
from vivit_jax.checkpoints import convert, load, sources
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate
from vivit_jax.inference import explain, export, gradient, rollout
from vivit_jax.models import builder, table
from vivit_jax.models import family as families
from vivit_jax.training import loop, param_groups

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / 'tests' / 'toy' / 'config.py'


@pytest.fixture(scope='module', autouse=True)
def toy():
  """Registers the family while this module's tests run."""
  config_file.run(str(CONFIG))
  yield families.get('two_stages')
  families._FAMILIES.pop('two_stages')
  sys.modules.pop('two_stages')


@pytest.fixture(scope='module')
def run(toy, prepared, tmp_path_factory) -> pathlib.Path:
  """Returns the workdir of two steps, made in this process."""
  config = config_file.run(str(CONFIG))
  data = dataclasses.replace(config.data, data_dir=str(prepared))
  folder = tmp_path_factory.mktemp('toy') / 'run'
  assert loop.train(dataclasses.replace(config, data=data), folder) == 0
  return folder


@pytest.fixture(scope='module')
def loaded(run):
  return vivit_jax.load(run, checkpoint='last')


def state_of(folder: pathlib.Path, step: int):
  with Store(folder, read_only=True) as store:
    return store.restore_parameters(step)


@pytest.mark.slow
def test_killed_after_a_step_it_resumes_bit_for_bit(run, prepared, tmp_path):
  command = [
    sys.executable, ROOT / 'train.py', f'--config={CONFIG}',
    f'--workdir={tmp_path / "run"}', f'--config.data.data_dir={prepared}',
  ]  # fmt: skip
  process = subprocess.Popen([*command, '--config.train.log_every=1'])
  first = tmp_path / 'run' / 'checkpoints' / '1'
  while process.poll() is None and not first.exists():
    time.sleep(0.001)
  process.send_signal(signal.SIGKILL)
  process.wait()
  subprocess.run(command, check=True)
  jax.tree.map(
    np.testing.assert_array_equal,
    state_of(run, 2),
    state_of(tmp_path / 'run', 2),
  )


def test_it_is_evaluated(run, tmp_path):
  found = evaluate.evaluate(run, checkpoints=['last'], out=tmp_path / 'out')
  (results,) = found.values()
  assert results['protocol']['examples'] == 22
  assert 0.0 <= results['scores']['verb/top1'] <= 1.0
  assert (tmp_path / 'out' / 'report.html').exists()


def test_it_predicts_what_its_module_computes(loaded):
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
  logits = loaded.logits(clips)
  video = (clips / 255.0 - 0.5) / 0.5
  expected = jax.jit(loaded.model.apply)({'params': loaded.params}, video)
  for head, x in expected.items():
    np.testing.assert_allclose(logits[head], x, atol=1e-5)


def test_its_layers_learn_slower_the_lower_they_are():
  model = families.ModelConfig(
    'two_stages', size='small', heads={'label': 3}, options={'depth': 2}
  )
  params = builder.shapes(model, 4, (32, 32))
  scales = param_groups.layer_scales(params, 0.5, model)
  found = flax.traverse_util.flatten_dict(scales, sep='/')
  layers = {
    'patches/kernel': 0,
    'stage0_block0/relative_bias': 1,
    'stage0_block1/qkv/kernel': 2,
    'merge/kernel': 2,
    'stage1_block0/norm1/scale': 3,
    'stage1_block1/fc2/bias': 4,
    'norm/scale': 5,
    'output_projection/kernel': 5,
  }
  assert {name: found[name] for name in layers} == {
    name: 0.5 ** (5 - layer) for name, layer in layers.items()
  }


def test_it_starts_from_itself_with_another_head_and_crop(run, capsys):
  config = config_file.run(str(CONFIG))
  config = dataclasses.replace(
    config,
    init_from=str(run),
    model=dataclasses.replace(config.model, heads={'noun': 8}),
    data=dataclasses.replace(config.data, crop=(16, 48)),
  )
  shapes = builder.shapes(config.model, config.data.frames, config.data.crop)
  initial = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  params = load.initialise(initial, config)
  account = capsys.readouterr().out
  assert 'adapted  stage0_block' in account and '(15, 15) -> (7, 23)' in account
  assert 'fresh  output_projection/kernel' in account
  assert params['stage0_block0']['relative_bias'].shape == (7, 23)


def test_its_own_weights_are_never_an_image_model(run):
  """Although its patch kernel has four axes, as an image ViT's."""
  weights = sources.read(run)
  assert list(weights.models) == ['two_stages']
  assert weights.arrays['patches/kernel'].ndim == 4
  assert 'image ViT' not in convert.describe(weights)


def test_it_is_exported_and_run(loaded, tmp_path):
  folder = export.export(loaded, tmp_path / 'exported', platforms=['cpu'])
  artefact = bytearray((folder / 'model.jax_export').read_bytes())
  function = jax_export.deserialize(artefact)
  clips = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
  logits = loaded.logits(clips)
  for head, shares in function.call(clips).items():
    expected = jax.nn.softmax(logits[head])
    np.testing.assert_allclose(shares, expected, atol=1e-5)


def trained(loaded):
  """Returns the model's config, and parameters with a head that is not zero."""
  params = dict(loaded.params)
  kernel = params['output_projection']['kernel']
  drawn = np.random.default_rng(1).normal(size=kernel.shape)
  params['output_projection'] = {
    'kernel': drawn.astype(np.float32), 'bias': np.ones(kernel.shape[1])
  }  # fmt: skip
  return loaded.config.model, params


def test_it_is_explained_by_gradient_without_a_declaration(loaded):
  """A head on a mean of tokens is linear, so each token's part is known."""
  assert explain.Explainer(loaded).by == 'gradient'
  model, params = trained(loaded)
  clips = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3))
  apply = jax.jit(loaded.model.apply, static_argnames='features')
  tokens = apply({'params': params}, clips, features=True).tokens
  logits = apply({'params': params}, clips)
  # Columns of the kernel are those of the first head, then the second's.
  (_, one), (_, two) = logits.items()
  columns = (
    np.asarray(one.argmax(-1)),
    one.shape[1] + np.asarray(two.argmax(-1)),
  )
  kernel = params['output_projection']['kernel']
  weights = sum(kernel[:, column] for column in columns)
  expected = (
    np.einsum('BthwD,DB->Bthw', tokens, weights) / tokens[0, ..., 0].size
  )
  result = gradient.contributions(model)(params, clips)
  np.testing.assert_allclose(result, expected, atol=1e-5)
  total = sum(x.max(-1) for x in (one, two)) - 2  # without the biases
  np.testing.assert_allclose(result.sum((1, 2, 3)), total, atol=1e-4)


def test_its_stages_are_explained_on_the_grid_of_the_first(
  toy, loaded, monkeypatch
):
  """The map's sum is the derivative along the norms' scales and biases."""

  def on_grid(products, config, batch, grid):
    factor = round((products.shape[1] / grid[1] / grid[2]) ** 0.5)
    return products.reshape(batch, grid[0], factor * grid[1], factor * grid[2])

  declared = dataclasses.replace(
    toy, cam=r'stage\d_block\d+/norm1', cam_map=on_grid
  )
  monkeypatch.setitem(families._FAMILIES, 'two_stages', declared)
  model, params = trained(loaded)
  clips = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3))
  result = gradient.contributions(model)(params, clips.astype(np.float32))
  assert result.shape == (2, 4, 8, 8)  # twice the height and width of the last
  tangent = jax.tree_util.tree_map_with_path(
    lambda path, x: x * (path[-2].key == 'norm1'), params
  )

  def logit(params):
    logits = loaded.model.apply({'params': params}, clips)
    return sum(x.max(-1) for x in logits.values())

  _, expected = jax.jvp(logit, (params,), (tangent,))
  np.testing.assert_allclose(result.sum((1, 2, 3)), expected, atol=1e-4)


def test_its_sizes_are_in_the_table():
  cases = [c for c in table.every_case() if c.config.family == 'two_stages']
  assert [case.config.size for case in cases] == ['small', 'large']
  assert table.parameters(cases[0]) < table.parameters(cases[1])


def test_what_it_does_not_support_is_refused(run, loaded, tmp_path):
  with pytest.raises(UserError, match='two_stages.*gradient') as caught:
    rollout.attention_rollout(loaded.config.model)
  assert '\n' not in str(caught.value)
  for to in ('huggingface', 'scenic'):
    with pytest.raises(UserError, match='two_stages'):
      convert.convert(run, tmp_path / 'other', to=to)
  assert not (tmp_path / 'other').exists()


@pytest.mark.parametrize(
  'key, value',
  [
    ('pool', 'token'),
    ('size', 'B'),
    ('scan', True),
    ('dtype', 'bfloat16'),
    ('stochastic_depth', 0.5),
  ],
)
def test_a_key_that_it_does_not_support_is_refused(key, value):
  with pytest.raises(UserError, match=f'model.{key} .*two_stages'):
    builder.check(families.ModelConfig('two_stages', **{key: value}))


def test_keys_are_those_of_their_family():
  config = configs.default('two_stages')
  assert set(config.model.options) == {'patch', 'depth'}
  with pytest.raises(UserError, match='temporal_layers.*factorised_encoder'):
    families.ModelConfig('two_stages', options={'temporal_layers': 2})
  with pytest.raises(UserError, match='depth.*two_stages'):
    families.ModelConfig('joint', options={'depth': 2})
  with pytest.raises(UserError, match='model.options.patch is 0'):
    families.ModelConfig('two_stages', options={'patch': 0})


def test_another_family_keeps_the_options_that_were_changed():
  """The old family's defaults are not kept."""
  config = configs.default('joint')
  config.model.options.gelu = 'exact'
  configs.set_family(config, 'factorised_encoder')
  assert config.model.options.gelu == 'exact' and config.model.size == 'B'
  configs.set_family(config, 'two_stages')
  assert config.model.size == 'small'
  assert set(config.model.options) == {'patch', 'depth'}


def test_a_family_is_known_by_its_module(monkeypatch):
  """In every command, by the environment."""
  command = [sys.executable, '-m', 'vivit_jax.models.table', '--size=small']
  done = subprocess.run(
    command,
    cwd=ROOT,
    env=os.environ
    | {'PYTHONPATH': str(CONFIG.parent), families.MODULES: 'two_stages'},
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'two stages' in done.stdout
  monkeypatch.setenv(families.MODULES, 'no_such_module')
  with pytest.raises(UserError, match='no_such_module'):
    families.every()
