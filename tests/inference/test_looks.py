"""Explanations of a trained model point to the moving shape."""

import os
import pathlib
import subprocess
import sys

import einops
import numpy as np
import pytest

import vivit_jax
from vivit_jax.data import moving_shapes, prepare, sampling
from vivit_jax.inference import explain

ROOT = pathlib.Path(__file__).parents[2]
COUNTS = {'train': 1024, 'validation': 16, 'test': 64}
STEPS = 300


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  prepare.prepare_embedded(folder, counts=COUNTS, workers=2)
  return folder


@pytest.fixture(scope='module')
def model(data_dir, tmp_path_factory):
  """Returns a model after a few hundred steps of training."""
  workdir = tmp_path_factory.mktemp('run') / 'short'
  done = subprocess.run(
    [
      sys.executable,
      ROOT / 'train.py',
      f'--config={ROOT / "configs" / "moving_shapes_ti8x2_fe.py"}',
      f'--workdir={workdir}',
      f'--config.data.data_dir={data_dir}',
      f'--config.train.epochs={STEPS * 32 / COUNTS["train"]}',
      '--config.train.validate_every=0',
    ],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=540,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return vivit_jax.load(workdir, checkpoint='last')


def cover(boxes, data, tubelet):
  """Returns the fraction of each token inside boxes, [t, h, w] in [0, 1].

  Args:
    boxes: of each frame of a clip, see `scenes.boxes`.
    data, tubelet: of the config.
  """
  crop = sampling.uniform_boxes((48, 48), data.crop, data.short_side, 1)[0]
  rows, columns = np.arange(crop.height), np.arange(crop.width)
  inside = np.zeros((len(boxes), crop.height, crop.width))
  for frame, (top, left, bottom, right) in zip(inside, boxes):
    within = (rows >= top - crop.top) & (rows < bottom - crop.top)
    across = (columns >= left - crop.left) & (columns < right - crop.left)
    frame[np.ix_(within, across)] = 1
  return einops.reduce(
    inside,
    '(t f) (h p) (w q) -> t h w',
    'mean',
    f=tubelet[0],
    p=tubelet[1],
    q=tubelet[2],
  )


@pytest.mark.slow
@pytest.mark.parametrize('by', ['rollout', 'gradient'])
def test_weights_are_higher_inside_the_shapes_box(model, data_dir, by):
  data, tubelet = model.config.data, model.config.model.options.tubelet
  explainer = explain.Explainer(model, by)
  folder = data_dir / 'raw' / 'moving_shapes' / 'videos'
  paths = sorted(folder.glob('test*.mp4'))
  assert len(paths) == COUNTS['test']
  spaces = [explainer.explain(path, {}).space for path in paths]
  frames = sampling.uniform_clips(18, data.frames, data.stride, 1)[0]
  covers = [
    cover(moving_shapes.boxes_of(path.stem)[frames], data, tubelet)
    for path in paths
  ]

  def ratio(space, inside):
    within = (space * inside).sum() / inside.sum()
    return within / ((space * (1 - inside)).sum() / (1 - inside).sum())

  own = [ratio(*pair) for pair in zip(spaces, covers, strict=True)]
  # Boxes of other videos are a control, since most are near the middle.
  moved = covers[17:] + covers[:17]
  others = [ratio(*pair) for pair in zip(spaces, moved, strict=True)]
  assert np.mean(np.array(own) > 1) > 0.9
  assert np.median(own) > 1.5 * np.median(others)
