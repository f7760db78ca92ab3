"""A new family of models is one file: everything else works unchanged."""

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
from vivit_jax.checkpoints import convert, sources
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate
from vivit_jax.inference import export, rollout
from vivit_jax.models import builder, table
from vivit_jax.models import family as families
from vivit_jax.training import loop, param_groups

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ROOT / 'tests' / 'toy' / 'config.py'


@pytest.fixture(scope='module')
def toy():
  """Registers the family while this module's tests run."""
  config_file.run(str(CONFIG))
  yield families.get('two_stages')
  families.unregister('two_stages')
  sys.modules.pop('two_stages')


@pytest.fixture
def config(toy, prepared):
  found = toy_config()
  found.data.data_dir = str(prepared)
  return found


def toy_config():
  import runpy

  return runpy.run_path(str(CONFIG))['get_config']()


@pytest.fixture(scope='module')
def run(toy, prepared, tmp_path_factory) -> pathlib.Path:
  """Returns the workdir of two steps, made in this process."""
  config = toy_config()
  config.data.data_dir = str(prepared)
  folder = tmp_path_factory.mktemp('toy') / 'run'
  assert loop.train(configs.resolve(config), folder) == 0
  return folder


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


def test_it_predicts_what_its_module_computes(run):
  model = vivit_jax.load(run, checkpoint='last')
  clips = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
  logits = model.logits(clips)
  video = (clips / 255.0 - 0.5) / 0.5
  expected = model.model.apply({'params': model.params}, video)
  for head, x in expected.items():
    np.testing.assert_allclose(logits[head], x, atol=1e-5)


def test_the_mean_is_pooled_of_tokens_twice_as_wide(run):
  model = vivit_jax.load(run, checkpoint='last')
  video = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3))
  found = model.model.apply({'params': model.params}, video, features=True)
  assert found.tokens.shape == (2, 4, 4, 4, 16)
  mean = found.tokens.mean(axis=(1, 2, 3))
  np.testing.assert_allclose(found.pre_logits, mean, atol=1e-6)


def test_its_layers_learn_slower_the_lower_they_are(toy):
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


def test_it_starts_from_itself_with_another_head_and_crop(
  run, config, tmp_path, capsys
):
  config.init_from = str(run)
  config.model.heads = {'noun': 8}
  config.data.crop = (16, 48)
  config.train.epochs = 16 / 48
  assert loop.train(configs.resolve(config), tmp_path / 'next') == 0
  account = capsys.readouterr().out
  assert 'adapted  stage0_block' in account and '(15, 15) -> (7, 23)' in account
  assert 'fresh  output_projection/kernel' in account


def test_its_own_weights_are_never_an_image_model(run):
  """Although its patch kernel has four axes, as an image ViT's."""
  weights = sources.read(run)
  assert list(weights.models) == ['two_stages']
  assert weights.arrays['patches/kernel'].ndim == 4
  assert 'image ViT' not in convert.describe(weights)


def test_it_is_exported_and_run(run, tmp_path):
  model = vivit_jax.load(run, checkpoint='last')
  folder = export.export(model, tmp_path / 'exported', platforms=['cpu'])
  artefact = bytearray((folder / 'model.jax_export').read_bytes())
  function = jax_export.deserialize(artefact)
  clips = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
  for head, shares in function.call(clips).items():
    expected = jax.nn.softmax(model.logits(clips)[head])
    np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_it_is_in_the_table_with_its_parameters(toy):
  cases = {
    case.config.size: case
    for case in table.every_case()
    if case.config.family == 'two_stages'
  }
  assert cases.keys() == {'small', 'large'}
  # Patches, two blocks of width D on 8 x 8 and 2 D on 4 x 4 tokens, the merge
  # of 4 D to 2 D, the last norm and the head.
  width = 8

  def block(d, side):
    dense = 3 * d * d + 3 * d + d * d + d + 2 * d * d + 2 * d + 2 * d * d + d
    return dense + 4 * d + (2 * side - 1) ** 2

  count = (
    4 * 4 * 3 * width + width
    + block(width, 8) + 4 * width * 2 * width + 2 * width
    + block(2 * width, 4) + 2 * 2 * width + 2 * width * 400 + 400
  )  # fmt: skip
  assert table.parameters(cases['small']) == count


def test_what_it_does_not_support_is_refused(run, toy, tmp_path):
  model = vivit_jax.load(run, checkpoint='last')
  with pytest.raises(UserError, match='two_stages') as caught:
    rollout.attention_rollout(model.config.model)
  assert '\n' not in str(caught.value)
  for to in ('huggingface', 'scenic'):
    with pytest.raises(UserError, match='two_stages'):
      convert.convert(run, tmp_path / 'other', to=to)
  assert not (tmp_path / 'other').exists()
  for keys in ({'pool': 'token'}, {'scan': True}, {'size': 'B'}):
    with pytest.raises(UserError, match='two_stages'):
      builder.check(families.ModelConfig('two_stages', **keys))


def test_keys_are_those_of_their_family(toy):
  config = configs.default('two_stages')
  assert set(config.model.options) == {'patch', 'depth'}
  with pytest.raises(UserError, match='temporal_layers.*factorised_encoder'):
    families.ModelConfig('two_stages', options={'temporal_layers': 2})
  with pytest.raises(UserError, match='depth.*two_stages'):
    families.ModelConfig('joint', options={'depth': 2})
  with pytest.raises(UserError, match='model.options.patch is 0'):
    families.ModelConfig('two_stages', options={'patch': 0})


def test_another_family_keeps_the_options_that_were_changed(toy):
  """The old family's defaults are not kept."""
  config = configs.default('joint')
  config.model.options.gelu = 'exact'
  configs.set_family(config, 'two_stages')
  assert config.model.size == 'small' and set(config.model.options) == {
    'patch',
    'depth',
  }
  config = configs.default('joint')
  config.model.options.gelu = 'exact'
  configs.set_family(config, 'factorised_encoder')
  assert config.model.options.gelu == 'exact' and config.model.size == 'B'
  configs.resolve(config)


@pytest.mark.parametrize(
  'key, value',
  [('dtype', 'bfloat16'), ('stochastic_depth', 0.5), ('remat', 'full')],
)
def test_a_key_that_it_does_not_support_is_refused(toy, key, value):
  with pytest.raises(UserError, match=f'model.{key} .*two_stages'):
    builder.check(families.ModelConfig('two_stages', **{key: value}))


def test_a_family_is_known_by_its_module(toy, tmp_path, monkeypatch):
  """In every command, by the environment."""
  command = [sys.executable, '-m', 'vivit_jax.models.table', '--size=small']
  done = subprocess.run(
    command,
    cwd=ROOT,
    env=os.environ
    | {
      'PYTHONPATH': str(CONFIG.parent),
      families.MODULES: 'two_stages',
    },
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'two stages' in done.stdout
  monkeypatch.setenv(families.MODULES, 'no_such_module')
  with pytest.raises(UserError, match='no_such_module'):
    families.every()
