"""The reference's models are evaluated, against a plain loop."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import reference
from scipy import special

from vivit_jax import config as configs
from vivit_jax.checkpoints import sources
from vivit_jax.data import datasets, moving_shapes, prepare
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate, metrics
from vivit_jax.evaluation.predictions import Table

NAMES = [f'class {n:02}' for n in range(11)]
COUNTS = [16, 19, 24, 31, 17, 40, 16, 22, 18, 20, 25, 33, 29]  # frames


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Returns a data folder with 13 videos, of 11 classes, of 48 x 48 pixels."""
  folder = tmp_path_factory.mktemp('tiny')
  rng = np.random.default_rng(0)
  rows = ['path,label,split']
  for number, count in enumerate(COUNTS):
    small = rng.integers(0, 255, (count, 6, 6, 3), np.uint8)
    images = small.repeat(8, axis=1).repeat(8, axis=2)
    moving_shapes.write_video(folder / f'{number}.mp4', images)
    rows.append(f'{number}.mp4,{NAMES[number % 11]},validation')
  (folder / 'a.csv').write_text('\n'.join(rows) + '\n')
  (folder / 'names.json').write_text(json.dumps({'label': NAMES}))
  prepare.prepare(
    'videos/tiny',
    videos=folder,
    annotations=folder / 'a.csv',
    data_dir=folder,
    label_names=folder / 'names.json',
    workers=1,
  )
  return folder


def config_of(name, data_dir, **data):
  config = configs.default(reference.MODELS[name][0])
  model = dataclasses.asdict(reference.config(name, heads={}))
  config.model.options.update(model['options'])
  config.data.frames, config.data.crop = 8, (48, 48)
  config.data.short_side, config.data.workers = 48, 0
  config.data.dataset, config.data.data_dir = 'videos/tiny', str(data_dir)
  config.data.update(data)
  return configs.resolve(config)


def plainly(name, data_dir):
  """Returns logits [n, V, K] of three clips a video, one after another."""
  model, params = reference.model(name), reference.parameters(name)
  apply = jax.jit(lambda clip: model.apply({'params': params}, clip))
  split = datasets.open_split('videos/tiny', data_dir, 'validation')
  rows = []
  for video, identity in enumerate(split.ids):
    count = COUNTS[int(pathlib.Path(identity).stem)]
    room = count - 15  # eight frames, every second one, reach over 15
    views = []
    for start in (0, round(room / 2), room):
      images = split.read_frames(video, range(start, start + 15, 2))
      clip = np.stack(images).astype(np.float32) / 255 * 2 - 1
      views.append(np.asarray(apply(clip[None])['label'])[0])
    rows.append(views)
  return np.array(rows), split


@pytest.mark.parametrize('name', reference.MODELS)
def test_fixtures_agree_with_a_plain_loop(name, data_dir, tmp_path):
  config = config_of(name, data_dir)
  source = reference.FIXTURES / name
  (found,) = evaluate.evaluate(
    None,
    config=config,
    checkpoints=[str(source)],
    out=tmp_path / 'out',
    views='3x1',
    batch_size=4,
  ).values()
  expected, split = plainly(name, data_dir)
  table = Table.read(tmp_path / 'out')
  assert table.ids == split.ids and len(table.ids) == 13
  assert table.class_names == {'label': NAMES}
  np.testing.assert_array_equal(table.labels['label'], split.labels['label'])
  np.testing.assert_allclose(
    table.logits['label'], expected, rtol=1e-4, atol=2e-5
  )
  mean = expected.mean(axis=1)
  right = mean.argmax(axis=1) == split.labels['label']
  assert found['scores']['label/top1'] == right.mean()
  middle = expected[:, 1].argmax(axis=1) == split.labels['label']
  assert found['views'][0]['scores']['label/top1'] == middle.mean()
  assert found == json.loads((tmp_path / 'out' / 'metrics.json').read_text())
  # The fixtures have no names.
  assert found['protocol']['class_order'] == "assumed: the dataset's"
  assert found['protocol']['weights'] == 'last'
  assert 'does not name its classes' in (
    tmp_path / 'out' / 'report.html'
  ).read_text('utf-8')


@pytest.fixture
def joint(data_dir):
  """Returns arguments of `evaluate` for the fixture of Model 1."""
  source = reference.FIXTURES / 'model1_joint'
  config = config_of('model1_joint', data_dir)
  return {'workdir': None, 'config': config, 'checkpoints': [str(source)]}


def test_several_checkpoints_and_a_damaged_one(
  joint, data_dir, tmp_path, capsys
):
  """Two copies, and one that is not; by mean probabilities."""
  weights, out = tmp_path / 'weights', tmp_path / 'out'
  weights.mkdir()
  for step in (5, 40):
    source = reference.FIXTURES / 'model1_joint' / 'checkpoint'
    shutil.copy(source, weights / f'checkpoint_{step}')
  (weights / 'checkpoint_41').write_bytes(b'\x82 not msgpack')
  joint['checkpoints'] = [str(weights)]
  with pytest.raises(UserError, match='1 of 3.*checkpoint_41'):
    evaluate.evaluate(**joint, out=out, views='3x1', average='probabilities')
  assert 'checkpoint_41' in capsys.readouterr().err
  logits, split = plainly('model1_joint', data_dir)
  mean = special.softmax(logits, axis=-1).mean(axis=1)
  right = mean.argmax(axis=1) == split.labels['label']
  for name in ('checkpoint_5', 'checkpoint_40'):
    found = json.loads((out / name / 'metrics.json').read_text())
    assert found['scores']['label/top1'] == right.mean()
    np.testing.assert_allclose(
      Table.read(out / name).probabilities()['label'], mean, 1e-4, 1e-6
    )
  names = sorted(path.name for path in out.iterdir())
  assert names == ['checkpoint_40', 'checkpoint_5', 'scores.csv']


def test_another_crop_resizes_the_positions(joint, tmp_path):
  (found,) = evaluate.evaluate(
    **joint, out=tmp_path / 'a', crop='32x48', frames=6, views='1x3'
  ).values()
  protocol = found['protocol']
  assert (protocol['crop'], protocol['frames']) == ([32, 48], 6)
  assert [row['spatial'] for row in found['views']] == [1, 3]
  (other,) = evaluate.evaluate(**joint, out=tmp_path / 'b').values()
  assert other['protocol']['digest'] != protocol['digest']


@pytest.mark.parametrize(
  ('change', 'named'),
  [
    ({'views': '30x1'}, '30.*26'),
    ({'frames': 16}, '--short_videos'),
    ({'split': 'test'}, "'test'.*validation.*--split"),
    ({'crop': '64'}, '64 x 64.*48'),
  ],
)
def test_views_that_do_not_fit(joint, tmp_path, change, named):
  with pytest.raises(UserError, match=named):
    evaluate.evaluate(**joint, out=tmp_path / 'out', **change)
  assert not (tmp_path / 'out').exists()


def test_another_number_of_classes(joint, prepared, tmp_path):
  joint['config'] = config_of(
    'model1_joint', prepared, dataset='moving_shapes', frames=8, stride=1
  )
  with pytest.raises(UserError, match='11.*moving_shapes'):
    evaluate.evaluate(**joint, out=tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_logits_that_are_not_finite(joint, tmp_path, monkeypatch):
  whole = sources.read(reference.FIXTURES / 'model1_joint')
  arrays = dict(whole.arrays)
  # Finite, but its products are not.
  arrays['output_projection/kernel'] = np.full((48, 11), 3e38, np.float32)
  broken = dataclasses.replace(whole, arrays=arrays)
  monkeypatch.setattr(sources, 'read', lambda path, ema: broken)
  out = tmp_path / 'out'
  with pytest.raises(UserError, match='head label.*13'):
    evaluate.evaluate(**joint, out=out)
  assert not list(out.glob('*'))  # neither results nor partial results


def test_partial_results_of_other_flags_are_kept(
  joint, tmp_path, monkeypatch, capsys
):
  out = tmp_path / 'out'
  with monkeypatch.context() as patch:  # interrupted
    patch.setattr(metrics, 'scores', None)
    with pytest.raises(TypeError):
      evaluate.evaluate(**joint, out=out, views='2x1')
  (left,) = out.glob('.unfinished-*')
  evaluate.evaluate(**joint, out=out, views='1x1')
  assert left.name in capsys.readouterr().out and left.exists()
  evaluate.evaluate(**joint, out=out, views='2x1')
  printed = capsys.readouterr().out
  assert '13 of 13' in printed and left.name not in printed
  assert not left.exists()
