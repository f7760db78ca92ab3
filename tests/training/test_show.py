"""The page shows what the step is given, with the labels it is given."""

import base64
import itertools
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from configs import moving_shapes_ti8x2_fe
from vivit_jax import config as configs
from vivit_jax.data import datasets, pipeline
from vivit_jax.errors import UserError
from vivit_jax.evaluation.page import clip_sheets
from vivit_jax.evaluation.page.clip_sheets import Sheet
from vivit_jax.training import show


def config(prepared, channels='rgb', **augment) -> configs.TrainConfig:
  changed = moving_shapes_ti8x2_fe.get_config()
  changed.data.channels = channels
  changed.data.data_dir = str(prepared)
  changed.data.frames = 4
  changed.train.batch_size = 4
  changed.augment.update(augment)
  return configs.resolve(changed)


def batch_and_sheets(prepared, step: int = 2, **augment):
  """Returns a batch of the pipeline, and the same one as it is shown."""
  split = datasets.open_split('moving_shapes', prepared, 'train')
  asked = configs.resolve_heads(config(prepared, **augment), split.label_names)
  batches = pipeline.train_batches(
    split, asked.data, augment=asked.augment, seed=0, batch_size=4
  )
  batch = next(itertools.islice(batches, step, None))
  batches.close()
  return split, batch, show.training_sheets(asked, split, step)


@pytest.mark.parametrize('channels', ['rgb', 'bgr'])
def test_without_augmentation_the_batch_itself_is_shown(prepared, channels):
  split, batch, sheets = batch_and_sheets(prepared, channels=channels)
  assert len(sheets) == 4
  for place, sheet in enumerate(sheets):
    np.testing.assert_array_equal(sheet.frames, batch['video'][place])
    assert sheet.name == split.ids[batch['index'][place]]
    assert sheet.labels == {
      head: split.label_names[head][values[place]]
      for head, values in batch['labels'].items()
    }


def test_a_mixed_clip_has_both_labels_with_their_shares(prepared):
  split, batch, sheets = batch_and_sheets(prepared, mixup=1.0)
  clips = batch['video'].astype(float)
  following = np.roll(clips, -1, axis=0)
  frames = np.stack([sheet.frames for sheet in sheets])
  share = np.sum((frames - following) * (clips - following))
  share /= np.sum((clips - following) ** 2)
  expected = share * clips + (1 - share) * following
  assert np.abs(frames - expected).max() <= 1
  for place, sheet in enumerate(sheets):
    for head, values in batch['labels'].items():
      names = split.label_names[head]
      own, other = names[values[place]], names[values[(place + 1) % 4]]
      both = f'{own} {share:.0%} + {other} {1 - share:.0%}'
      assert sheet.labels[head] == (own if own == other else both)


def test_operations_are_named(prepared):
  _, batch, sheets = batch_and_sheets(prepared, randaugment_layers=8)
  for sheet, clip in zip(sheets, batch['video']):
    assert len(sheet.operations.split(', ')) >= 4
    assert not np.array_equal(sheet.frames, clip)


def test_a_page_is_whole_and_needs_nothing_else(prepared, tmp_path):
  show.write_page(config(prepared), tmp_path / 'page.html', clips=3)
  text = (tmp_path / 'page.html').read_text()
  assert [path.name for path in tmp_path.iterdir()] == ['page.html']
  sources = re.findall(r'<img[^>]* src="([^"]+)"', text)
  assert len(sources) == 3 * 4
  data = base64.b64decode(sources[0].removeprefix('data:image/png;base64,'))
  image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  assert image.shape == (40, 40, 3)
  assert '://' not in text and 'prefers-color-scheme' in text


def test_names_are_text_not_html(tmp_path):
  sheet = Sheet(np.zeros((1, 8, 8, 3), np.uint8), 'a', {'x': '<b> & $y$'})
  clip_sheets.write_html(tmp_path / 'a.html', ['<i>'], [sheet])
  text = (tmp_path / 'a.html').read_text()
  assert '&lt;b&gt; &amp; $y$' in text and '<i>' not in text
  clip_sheets.write_png(tmp_path / 'a.png', ['$'], [sheet] * 2)
  assert cv2.imread(str(tmp_path / 'a.png')).shape[1] == 1000


def test_a_contact_sheet_by_hand():
  frames = np.arange(10, dtype=np.uint8)[:, None, None, None]
  frames = np.broadcast_to(frames, (10, 100, 120, 3))
  sheet = clip_sheets.contact_sheet(frames)
  assert sheet.shape == (202, 8 * 122 - 2, 3)
  assert (sheet[:100, :120] == 0).all() and (sheet[100:102] == 255).all()
  assert (sheet[102:, 122:242] == 9).all()
  assert (sheet[102:, 242:] == 255).all()
  small = clip_sheets.contact_sheet(frames[:2, :8, :10])
  assert small.shape == (80, 202, 3)


@pytest.mark.parametrize(
  'keys, named',
  [
    ({'out': 'page.pdf'}, 'page.pdf'),
    ({'clips': 5}, '--clips'),
    ({'out': 'no/folder/page.png'}, 'no/folder/page.png'),
  ],
)
def test_invalid_flags_are_refused(prepared, keys, named):
  keys = {'out': 'page.html', 'clips': 1} | keys
  with pytest.raises(UserError, match=named):
    show.write_page(config(prepared), **keys)


@pytest.mark.slow
def test_the_command_takes_overrides_as_training_does(prepared, tmp_path):
  command = [
    *(sys.executable, '-m', 'vivit_jax.show'),
    '--config=configs/moving_shapes_ti8x2_fe.py',
    f'--config.data.data_dir={prepared}',
    f'--out={tmp_path / "page.png"}',
  ]
  options = ['--config.augment.cutmix=1.0', '--step=3', '--clips=2']
  done = subprocess.run([*command, *options], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert '2 of the 32 clips of batch 3' in done.stdout
  assert cv2.imread(str(tmp_path / 'page.png')) is not None
