"""Weights of any format as the model of a config; the order of classes."""

import dataclasses
import json

import numpy as np
import pytest
import reference

from vivit_jax import config as configs
from vivit_jax.checkpoints import class_order, load, names, pretrained, sources
from vivit_jax.checkpoints.metadata import Description
from vivit_jax.checkpoints.store import Store
from vivit_jax.errors import UserError

SOURCE = reference.FIXTURES / 'model1_joint'
NAMES = [f'class {n:02}' for n in range(11)]


@pytest.fixture
def config():
  config = configs.default('joint')
  config.model.options.update(reference.SIZE | {'layers': 3})
  config.data.frames, config.data.crop = 8, (48, 48)
  return configs.resolve(config)


def test_without_names_the_datasets_order_is_taken(config, capsys):
  found = pretrained.from_file(SOURCE, config, {'label': NAMES})
  expected = reference.parameters('model1_joint')['output_projection']
  np.testing.assert_array_equal(
    found.params['output_projection']['kernel'], expected['kernel']
  )
  assert found.config.model.heads == {'label': 11}
  assert found.class_order == "assumed: the dataset's"
  assert '--config.class_order' in capsys.readouterr().out


def test_a_class_order_moves_the_columns(config, tmp_path, capsys):
  (tmp_path / 'order.json').write_text(json.dumps({'label': NAMES[::-1]}))
  config = dataclasses.replace(config, class_order=str(tmp_path / 'order.json'))
  found = pretrained.from_file(SOURCE, config, {'label': NAMES})
  expected = reference.parameters('model1_joint')['output_projection']
  head = found.params['output_projection']
  np.testing.assert_array_equal(head['kernel'], expected['kernel'][:, ::-1])
  np.testing.assert_array_equal(head['bias'], expected['bias'][::-1])
  assert found.label_names == {'label': NAMES}
  assert found.class_order == 'config.class_order'
  assert '--config.class_order' not in capsys.readouterr().out


def test_a_checkpoint_that_names_its_classes_has_its_own_order(
  config, tmp_path, capsys
):
  run = native_run(tmp_path / 'run', config, [f'jump {n}' for n in range(11)])
  names = {'label': [f'jump {n}' for n in range(11)]}
  for found in (
    pretrained.from_file(run, config, names),
    load.from_run(run, 'last'),
  ):
    assert found.class_order == "the checkpoint's"
  assert '--config.class_order' not in capsys.readouterr().out


def test_a_model_without_a_head_cannot_be_scored(config, monkeypatch):
  whole = sources.read(SOURCE)
  arrays = {k: v for k, v in whole.arrays.items() if 'output' not in k}
  headless = dataclasses.replace(whole, arrays=arrays)
  monkeypatch.setattr(sources, 'read', lambda path, ema: headless)
  with pytest.raises(UserError, match='output_projection'):
    pretrained.from_file(SOURCE, config, {'label': NAMES})


def native_run(folder, config, classes=NAMES):
  """Writes a run whose only checkpoint, of step 3, is the fixture."""
  whole = sources.read(SOURCE)
  params = names.unflatten(whole.arrays)
  config = configs.with_heads(config, {'label': 11})
  folder.mkdir()
  (folder / 'config.json').write_text(configs.to_json(config))
  with Store(folder) as store:
    store.save(3, {'params': params}, Description(config, {'label': classes}))
  return folder


def test_the_digest_is_of_the_weights_alone(config, tmp_path):
  run = native_run(tmp_path / 'run', config)
  one = pretrained.from_file(SOURCE, config, {'label': NAMES})
  other = load.from_run(run, 'last')
  by_path = pretrained.from_file(run, config, {'label': NAMES})
  assert (one.step, other.step, by_path.step) == (None, 3, 3)
  assert one.digest == other.digest and len(one.digest) == 64
  kernel = one.params['output_projection']['kernel']
  for changed in (
    kernel + np.eye(48, 11, dtype=np.float32),
    kernel.astype(np.float16),
    kernel.reshape(11, 48),
  ):
    params = one.params | {
      'output_projection': one.params['output_projection'] | {'kernel': changed}
    }
    assert dataclasses.replace(one, params=params).digest != one.digest


def test_positions_are_resized_for_other_clips(config, tmp_path, capsys):
  """Of a run as of a file; the run's class_order does not apply."""
  config = dataclasses.replace(config, class_order='of the weights before it')
  run = native_run(tmp_path / 'run', config)

  def smaller(c):
    return dataclasses.replace(
      c, data=dataclasses.replace(c.data, frames=4, crop=(32, 48))
    )

  found = load.from_run(run, 'best', smaller)
  account = capsys.readouterr().out
  assert '4 -> 2' in account and '3 x 3 -> 2 x 3' in account
  place = 'Transformer', 'posembed_input', 'pos_embedding'
  whole, part = load.from_run(run, 'best').params, found.params
  for key in place:
    whole, part = whole[key], part[key]
  assert whole.shape == (1, 37, 48) and part.shape == (1, 13, 48)
  np.testing.assert_array_equal(part[:, 0], whole[:, 0])  # the class token's
  # A file without a grid is resized in the same way.
  plain = dataclasses.replace(smaller(config), class_order=None)
  other = pretrained.from_file(
    SOURCE, plain, {'label': NAMES}, grid=configs.target(config).grid
  )
  assert other.digest == found.digest


@pytest.mark.parametrize('ema', [True, False])
def test_step_and_average_are_known_by_path_too(config, tmp_path, ema):
  run = native_run(tmp_path / 'run', config)
  params = names.unflatten(sources.read(SOURCE).arrays)
  about = Description(
    configs.with_heads(config, {'label': 11}), {'label': NAMES}
  )
  with Store(run) as store:
    store.save(4, {'params': params, 'ema': params}, about)
  config = dataclasses.replace(
    config, evaluation=dataclasses.replace(config.evaluation, ema=ema)
  )
  dataset = {'label': NAMES}
  checkpoints = run / 'checkpoints'
  kept = pretrained.from_file(checkpoints / '4', config, dataset)
  assert (kept.step, kept.averaged) == (4, ema)
  without = pretrained.from_file(checkpoints / '3', config, dataset)
  assert (without.step, without.averaged) == (3, False)

  def override(c):
    return dataclasses.replace(c, evaluation=config.evaluation)

  assert load.from_run(run, '4', override).averaged == ema


def test_duplicate_class_names_move_no_column(config, tmp_path):
  twice = [*NAMES[:-1], NAMES[0]]
  (tmp_path / 'order.json').write_text(json.dumps({'label': NAMES}))
  order, wanted = {'label': twice}, {'label': twice}
  arrays = dict(sources.read(SOURCE).arrays)
  found, how, why = class_order.arrange(arrays, order, wanted)
  assert (how, why) == ('', '')
  np.testing.assert_array_equal(
    found['output_projection/bias'], arrays['output_projection/bias']
  )
  _, _, why = class_order.arrange(arrays, order, {'label': NAMES})
  assert why


@pytest.mark.parametrize(
  'own, options, classes, dataset, why',
  [
    (False, {}, ['other', *NAMES[1:]], NAMES, "'class 00' of head label"),
    (False, {}, None, NAMES[:3], '11 .* 3 .label 3'),
    # A part of a checkpoint is not scored as the whole.
    (False, {'positions': 'none'}, None, NAMES, 'pos_embedding'),
    # The arrays fit, but would compute something else.
    (True, {'gelu': 'exact'}, None, NAMES, 'model.options.gelu'),
  ],
)
def test_another_model_or_dataset_is_refused(
  config, tmp_path, own, options, classes, dataset, why
):
  source = native_run(tmp_path / 'run', config) if own else SOURCE
  if classes:
    (tmp_path / 'order.json').write_text(json.dumps({'label': classes}))
    order = str(tmp_path / 'order.json')
    config = dataclasses.replace(config, class_order=order)
  options = dataclasses.replace(config.model.options, **options)
  model = dataclasses.replace(config.model, options=options)
  config = dataclasses.replace(config, model=model)
  with pytest.raises(UserError, match=why):
    pretrained.from_file(source, config, {'label': dataset})


def test_init_options_are_options_of_the_family(config):
  config = dataclasses.replace(config, init_options={'ordr': 'space_time'})
  with pytest.raises(UserError, match='init_options.ordr'):
    pretrained.read(SOURCE, config)
