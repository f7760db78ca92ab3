"""Folders of videos as users have them: trained and scored, with options."""

import csv
import json

import demo
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.data import datasets, moving_shapes, prepare
from vivit_jax.errors import UserError
from vivit_jax.evaluation import evaluate
from vivit_jax.training import loop


def tiny(**data):
  config = configs.default()
  config.model.size = 'Ti'
  config.model.options.tubelet = (2, 16, 16)
  config.model.options.spatial_layers = config.model.options.temporal_layers = 1
  config.data.frames, config.data.crop, config.data.short_side = 4, (32, 32), 32
  config.data.workers = 0
  config.data.update(data)
  config.train.batch_size, config.train.epochs = 4, 0.5
  config.train.validation_split = config.evaluation.split = 'train'
  config.evaluation.temporal_views = 2
  config.evaluation.batch_size = 3
  config.augment.mixup = 0.2
  return config


@pytest.fixture
def tagged(tmp_path):
  """Returns a data folder: 12 videos with tags and a label, stored as video."""
  folder = tmp_path / 'videos'
  folder.mkdir()
  tags = ['run', 'run;jump', '', 'jump']
  rows = ['path,tags[],label,split']
  for number in range(12):
    images = np.full((8 + number, 32, 40, 3), 20 * number, np.uint8)
    moving_shapes.write_video(folder / f'{number}.mp4', images)
    rows.append(f'{number}.mp4,{tags[number % 4]},{"aab"[number % 3]},train')
  (tmp_path / 'a.csv').write_text('\n'.join(rows) + '\n')
  prepare.prepare(
    'videos/tagged',
    videos=folder,
    annotations=tmp_path / 'a.csv',
    data_dir=tmp_path / 'data',
    storage='video',
    workers=1,
  )
  return tmp_path / 'data'


@pytest.mark.slow
def test_several_labels_frames_a_second_and_balance(tagged, tmp_path):
  config = tiny(
    dataset='videos/tagged',
    data_dir=str(tagged),
    frames_per_second=2.0,
    short_videos='hold',
    balanced='label',
  )
  config.train.validate_epochs = 0.25  # of 12 videos, 4 a step
  config.train.best_metric = 'tags/mAP'
  workdir = tmp_path / 'run'
  assert loop.train(configs.resolve(config), workdir) == 0
  rows = demo.rows(workdir)
  validated = [row['step'] for row in rows if 'validation/top1' in row]
  assert validated == [1, 2]
  (found,) = evaluate.evaluate(workdir).values()
  scores = found['scores']
  assert 0 <= scores['tags/mAP'] <= 1 and 'label/mAP' not in scores
  report = workdir / 'evaluation' / 'train'
  with open(report / 'predictions.csv', newline='') as file:
    rows = {row['example']: row for row in csv.DictReader(file)}
  assert [rows[f'{n}.mp4']['tags_label'] for n in range(4)] == [
    'run',
    'jump;run',
    '',
    'jump',
  ]
  assert (report / 'report.html').read_text().count('class="matrix"') == 1


@pytest.mark.slow
def test_a_damaged_shard_is_skipped_up_to_a_share(tagged, tmp_path, capsys):
  folder = datasets.find('videos/tagged', tagged)
  shard = sorted(folder.glob('*.array_record-*'))[3]
  shard.write_bytes(shard.read_bytes()[:-70_000])
  config = tiny(
    dataset='videos/tagged',
    data_dir=str(tagged),
    max_unreadable=0.1,
    short_videos='hold',
  )
  config.train.epochs = 2.0
  workdir = tmp_path / 'run'
  assert loop.train(configs.resolve(config), workdir) == 0
  printed = capsys.readouterr().out
  assert printed.count("skipped: video '3.mp4' cannot be read (1 so far)") == 1
  assert '1 of 12 validation videos cannot be read' in printed
  evaluate.evaluate(workdir)
  metrics = workdir / 'evaluation' / 'train' / 'metrics.json'
  protocol = json.loads(metrics.read_text())['protocol']
  assert protocol['examples'] == 11 and protocol['unreadable'] == ['3.mp4']
  assert '1 of 12 videos cannot be read' in capsys.readouterr().out
  config.data.max_unreadable = 0.05
  with pytest.raises(UserError, match='data.max_unreadable'):
    loop.train(configs.resolve(config), tmp_path / 'other')


@pytest.mark.slow
def test_a_validation_that_cannot_be_scored_costs_no_steps(
  tagged, tmp_path, capsys, monkeypatch
):
  def broken(*_):
    raise UserError('none of the videos of the split can be read.')

  monkeypatch.setattr(
    'vivit_jax.evaluation.predict_split.predict_split', broken
  )
  config = tiny(
    dataset='videos/tagged', data_dir=str(tagged), short_videos='hold'
  )
  workdir = tmp_path / 'run'
  assert loop.train(configs.resolve(config), workdir) == 0
  assert 'validation is skipped: none of the' in capsys.readouterr().out
  assert list((workdir / 'checkpoints').glob('2'))
