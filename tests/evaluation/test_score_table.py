"""The table of several checkpoints, in a file and for people."""

import csv

from vivit_jax.evaluation import score_table


def found(checkpoint, **scores):
  return {
    'protocol': {
      'checkpoint': checkpoint, 'step': 7, 'digest': 'ab', 'examples': 22,
    },
    'scores': {name.replace('_', '/'): x for name, x in scores.items()},
    'intervals': {'a/top1': [0.25, 0.75]},
  }  # fmt: skip


def test_by_hand(tmp_path):
  rows = [
    score_table.row('step_7', found('step 7', a_top1=0.5, a_ece=0.125)),
    score_table.row('other', found('x, "y"', b_mAP=1.0)),
  ]
  score_table.write(tmp_path / 'new', rows)
  with open(tmp_path / 'new' / 'scores.csv', newline='') as file:
    first, second = csv.DictReader(file)
  assert first == {
    'results': 'step_7',
    'checkpoint': 'step 7',
    'step': '7',
    'digest': 'ab',
    'examples': '22',
    'a/top1': '0.5',
    'a/top1/low': '0.25',
    'a/top1/high': '0.75',
    'a/ece': '0.125',
    'b/mAP': '',
  }
  assert second['checkpoint'] == 'x, "y"' and second['b/mAP'] == '1.0'
  assert second['a/top1'] == ''
  assert list(score_table.lines(rows)) == [
    'checkpoint  a/top1   b/mAP',
    'step_7      0.5000        ',
    'other               1.0000',
  ]
