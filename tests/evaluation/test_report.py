"""What the report's files say, against values computed by hand."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import page, report, summary
from vivit_jax.evaluation.predictions import Table

NAMES = {
  'verb': ['pick, up', 'put "down"', '$cut$ $'],
  'noun': ['a', 'b', 'c', 'd', 'e', 'f'],
}
PROTOCOL = {
  'dataset': 'd', 'split': 'test', 'temporal_views': 1, 'spatial_crops': 1,
  'average': 'logits', 'frames': 8, 'sampling': 'clip', 'stride': 2,
  'frames_per_second': None,
  'crop': [32, 32], 'checkpoint': 'step 2', 'step': 2, 'unreadable': [],
  'class_order': "the checkpoint's",
}  # fmt: skip


@pytest.fixture
def table() -> Table:
  verb = np.log([[[0.5, 0.125, 0.375]], [[0.25, 0.25, 0.5]]])
  noun = np.log([[[1, 2, 3, 4, 5, 6]], [[6, 5, 4, 3, 2, 1]]])
  return Table(
    ids=['clips/0.mp4', 'clips/é.mp4'],
    logits={'noun': noun.astype(np.float32), 'verb': verb.astype(np.float32)},
    labels={'noun': np.array([0, 0]), 'verb': np.array([0, 1])},
    class_names=NAMES,
    protocol=PROTOCOL,
  )


def write(folder: pathlib.Path, table: Table) -> None:
  report.write(folder, table, summary.summary(table))


def test_the_files_of_a_report(tmp_path, table):
  folder = tmp_path / 'new' / 'report'
  write(folder, table)
  assert sorted(os.listdir(folder)) == [
    *('metrics.json', 'predictions.csv', 'predictions.npz', 'report.html'),
  ]
  found = json.loads((folder / 'metrics.json').read_text())
  assert found['scores'] == summary.summary(table)['scores']
  assert found['protocol'] == PROTOCOL
  np.testing.assert_array_equal(
    Table.read(folder).logits['noun'], table.logits['noun']
  )
  html = (folder / 'report.html').read_text()
  assert html == page.render(table, found)


def test_predictions_in_rows(tmp_path, table):
  write(tmp_path, table)
  path = tmp_path / 'predictions.csv'
  with path.open(encoding='utf-8', newline='') as file:
    header, first, second = csv.reader(file)
  expected = ['example']
  for head, guesses in (('noun', 5), ('verb', 3)):
    expected.append(f'{head}_label')
    for rank in range(1, guesses + 1):
      expected += [f'{head}_top{rank}', f'{head}_top{rank}_probability']
  assert header == expected
  assert first[0] == 'clips/0.mp4'
  assert first[12:19] == [
    'pick, up',
    *['pick, up', '0.500000', '$cut$ $', '0.375000'],
    *['put "down"', '0.125000'],
  ]
  assert first[1:6] == ['a', 'f', '0.285714', 'e', '0.238095']
  # Equal probabilities: the lower class first.
  assert second[0] == 'clips/é.mp4'
  assert second[12:19] == [
    'put "down"',
    *['$cut$ $', '0.500000', 'pick, up', '0.250000'],
    *['put "down"', '0.250000'],
  ]


def test_a_failure_leaves_whole_files(tmp_path, table, monkeypatch):
  write(tmp_path, table)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

  class Full:
    def __init__(self, file):
      self.file = file

    def writerow(self, row):
      self.file.write('half a')
      raise OSError(28, 'No space left on device')

  monkeypatch.setattr(report.csv, 'writer', Full)
  with pytest.raises(UserError, match='No space left'):
    write(tmp_path, table)
  after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert before == after
