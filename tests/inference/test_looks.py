"""Explanations of a trained model point to the moving shape."""

import os
import pathlib
import subprocess
import sys

import einops
import numpy as np
import pytest

import vivit_jax
from vivit_jax.data import (
  frame_numbers,
  moving_shapes,
  prepare,
  sampling,
  scenes,
)
from vivit_jax.inference import explain
from vivit_jax.models import family as families

ROOT = pathlib.Path(__file__).parents[2]
COUNTS = {'train': 1024, 'validation': 16, 'test': 64}
# Steps of training, and options. tests/inference/test_gradient.py compares each
# token with its derivative, for all families.
FAMILIES = {
  'factorised_encoder': (300, {}),
  'timesformer': (300, {'layers': 2, 'patch': 8}),
  'mvit': (200, {'layers': 2, 'width': 32, 'stages': (1,)}),
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  prepare.prepare_embedded(folder, counts=COUNTS, workers=2)
  return folder


def trained(family, data_dir, workdir):
  """Returns a model after a few hundred steps of training."""
  steps, options = FAMILIES[family]
  done = subprocess.run(
    [
      sys.executable,
      ROOT / 'train.py',
      f'--config={ROOT / "configs" / "moving_shapes_ti8x2_fe.py"}',
      f'--workdir={workdir}',
      f'--config.data.data_dir={data_dir}',
      f'--config.model.family={family}',
      *(f'--config.model.options.{k}={v}' for k, v in options.items()),
      f'--config.train.epochs={steps * 32 / COUNTS["train"]}',
      '--config.train.validate_every=0',
    ],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=540,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return vivit_jax.load(workdir, checkpoint='last')


def boxes_of(name):
  """Returns the shape's box in each frame of a video of moving_shapes.

  float [frames, 4]: top, left, bottom and right edge, in pixels. It draws as
  `scenes.render` does.
  """
  split, number = name.split('_')[0][:-6], int(name.split('_')[0][-6:])
  rng = moving_shapes._generator(split, number)
  verb, noun = moving_shapes.labels_of(number)
  _, background_colour = scenes._colours(moving_shapes.SCENE, rng)
  scenes._background(moving_shapes.SCENE, background_colour, rng)
  course = scenes._course(verb, moving_shapes.SCENE, rng)
  outlines = [scenes._outline(noun, position) for position in course]
  return np.array([
    [*points.min(axis=0)[::-1], *points.max(axis=0)[::-1]]
    for points in outlines
  ])  # fmt: skip


def cover(boxes, data, grid):
  """Returns the fraction of each token inside boxes, [t, h, w] in [0, 1].

  Args:
    boxes: of each frame of a clip, see `boxes_of`.
    data: of the config.
    grid: (t, h, w).
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
    t=grid[0],
    h=grid[1],
    w=grid[2],
  )


def ratio(space, inside):
  """Returns the mean weight inside divided by the mean outside."""
  within = (space * inside).sum() / inside.sum()
  return within / ((space * (1 - inside)).sum() / (1 - inside).sum() + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_weights_are_higher_inside_the_shapes_box(family, data_dir, tmp_path):
  model = trained(family, data_dir, tmp_path / 'run')
  data = model.config.data
  folder = data_dir / 'raw' / 'moving_shapes' / 'videos'
  paths = sorted(folder.glob('test*.mp4'))
  assert len(paths) == COUNTS['test']
  frames = frame_numbers.uniform_frames(18, data, data.stride, 1)[0]
  boxes = [boxes_of(path.stem)[frames] for path in paths]
  has_rollout = families.get(family).attention_flow is not None
  for by in ('rollout', 'gradient')[not has_rollout :]:
    explainer = explain.Explainer(model, by)
    spaces = [explainer.explain(path, {}).space for path in paths]
    covers = [cover(box, data, spaces[0].shape) for box in boxes]
    # Boxes of other videos are a control, since most are near the middle.
    moved = covers[17:] + covers[:17]
    own = [ratio(*pair) for pair in zip(spaces, covers, strict=True)]
    others = [ratio(*pair) for pair in zip(spaces, moved, strict=True)]
    assert np.mean(np.array(own) > 1) > 0.9, by
    assert np.median(own) > 1.5 * np.median(others), by
