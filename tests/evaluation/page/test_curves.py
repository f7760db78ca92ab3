"""Curves of a run, from lines that may be damaged."""

import json

import numpy as np

from vivit_jax.evaluation.page import curves


def write(folder, *lines):
  (folder / 'metrics.jsonl').write_text('\n'.join(lines))


def test_lines_are_read_and_broken_ones_left_out(tmp_path):
  write(
    tmp_path,
    json.dumps({'step': 20, 'train/loss': 3.0, 'validation/top1': 0.5}),
    json.dumps({'step': 10, 'train/loss': 4.0}),
    json.dumps({'step': 20, 'train/loss': 2.0}),
    '[1, 2]',
    '{"no step": 1}',
    '{"step": 30, "train/lo',
  )
  found = curves.read(tmp_path)
  assert sorted(found) == ['train/loss', 'validation/top1']
  assert [column.tolist() for column in found['train/loss']] == [
    [10, 20],
    [4.0, 2.0],
  ]


def test_what_is_drawn(tmp_path):
  row = {
    'step': 1,
    'train/loss': 1.0,
    'train/learning_rate': 1e-3,
    'train/clips_per_second': 300.0,
    'train/verb/top1': 0.25,
    'validation/verb/top1': 0.5,
    'validation/top1': 0.5,
  }
  write(tmp_path, json.dumps(row), json.dumps({**row, 'step': 2}))
  found = curves.training(tmp_path, step=2)
  assert [chart['title'] for chart in found] == [
    *('loss', 'learning rate', 'top1', 'verb/top1'),
  ]
  assert [line['name'] for line in found[3]['lines']] == [
    *('training', 'validation'),
  ]
  assert 'training: 25% at 1' in found[3]['label']
  assert all(chart['mark'][0] == chart['plot'][2] for chart in found)


def test_without_curves_and_long_ones(tmp_path):
  assert curves.training(tmp_path) == []
  steps, values = curves.thinned(np.arange(600), np.arange(600) % 2)
  np.testing.assert_allclose(steps, np.arange(300) * 2 + 0.5)
  np.testing.assert_allclose(values, 0.5)
  write(tmp_path, json.dumps({'step': 1, 'train/loss': float('nan')}))
  assert curves.training(tmp_path) == []
