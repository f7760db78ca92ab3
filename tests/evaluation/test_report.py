"""What the report's files say, against values computed by hand."""

import csv
import json
import os
import pathlib

import matplotlib.image
import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import report
from vivit_jax.evaluation.predictions import Predictions

NAMES = {
  'verb': ['pick, up', 'put "down"', '$cut$ $'],
  'noun': ['a', 'b', 'c', 'd', 'e', 'f'],
}
PROTOCOL = {'split': 'validation', 'temporal_views': 4}


@pytest.fixture
def predictions() -> Predictions:
  verb = np.log([[0.5, 0.125, 0.375], [0.25, 0.25, 0.5]])
  noun = np.log([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
  return Predictions(
    logits={'verb': verb.astype(np.float32), 'noun': noun.astype(np.float32)},
    labels={'verb': np.array([0, 1]), 'noun': np.array([0, 0])},
    index=np.arange(2),
  )


def write(folder: pathlib.Path, predictions: Predictions) -> None:
  report.write_report(
    folder,
    predictions,
    ids=['clips/0.mp4', 'clips/é.mp4'],
    label_names=NAMES,
    protocol=PROTOCOL,
  )


def test_the_files_of_a_report(tmp_path, predictions):
  folder = tmp_path / 'new' / 'report'
  write(folder, predictions)
  assert sorted(os.listdir(folder)) == [
    'confusion_noun.png',
    'confusion_verb.png',
    'metrics.json',
    'predictions.csv',
  ]
  assert json.loads((folder / 'metrics.json').read_text()) == {
    'verb/top1': 0.5,
    'verb/top5': 1.0,
    'noun/top1': 0.5,
    'noun/top5': 0.5,
    'joint/top1': 0.0,
    'top1': 0.5,
    'protocol': PROTOCOL,
  }
  image = matplotlib.image.imread(folder / 'confusion_verb.png')
  assert image.std() > 0.05  # not a blank page


def test_predictions_in_rows(tmp_path, predictions):
  write(tmp_path, predictions)
  path = tmp_path / 'predictions.csv'
  with path.open(encoding='utf-8', newline='') as file:
    header, first, second = csv.reader(file)
  expected = ['example']
  for head, guesses in (('verb', 3), ('noun', 5)):
    expected.append(f'{head}_label')
    for rank in range(1, guesses + 1):
      expected += [f'{head}_top{rank}', f'{head}_top{rank}_probability']
  assert header == expected
  assert first[:8] == [
    'clips/0.mp4',
    'pick, up',
    *['pick, up', '0.500000', '$cut$ $', '0.375000'],
    *['put "down"', '0.125000'],
  ]
  assert first[8:13] == ['a', 'f', '0.285714', 'e', '0.238095']
  # Equal probabilities: the lower class first.
  assert second[:8] == [
    'clips/é.mp4',
    'put "down"',
    *['$cut$ $', '0.500000', 'pick, up', '0.250000'],
    *['put "down"', '0.250000'],
  ]


def test_a_row_of_the_picture_is_a_true_class():
  counts = np.array([[1, 3, 0], [0, 0, 0], [0, 2, 0]])
  figure = report.confusion_figure(counts, NAMES['verb'], 'verb')
  axes = figure.axes[0]
  drawn = axes.get_images()[0].get_array()
  np.testing.assert_allclose(
    drawn.filled(-1), [[0.25, 0.75, 0], [-1, -1, -1], [0, 1, 0]]
  )
  texts = {text.get_position(): text.get_text() for text in axes.texts}
  assert texts == {(0, 0): '25%', (1, 0): '75%', (1, 2): '100%'}
  named = [label.get_text() for label in axes.get_yticklabels()]
  assert named == NAMES['verb']


def test_many_classes_are_not_named():
  names = [f'class {i}' for i in range(41)]
  figure = report.confusion_figure(np.eye(41, dtype=int), names, 'label')
  axes = figure.axes[0]
  assert not axes.texts
  assert 'class 0' not in [x.get_text() for x in axes.get_yticklabels()]


def test_a_failure_leaves_whole_files(tmp_path, predictions, monkeypatch):
  write(tmp_path, predictions)
  before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

  class Full:
    def __init__(self, file):
      self.file = file

    def writerow(self, row):
      self.file.write('half a')
      raise OSError(28, 'No space left on device')

  monkeypatch.setattr(report.csv, 'writer', Full)
  with pytest.raises(UserError, match='No space left'):
    write(tmp_path, predictions)
  after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  assert before == after


def test_a_folder_that_cannot_be_made(tmp_path, predictions):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot be written to .*file/report'):
    write(tmp_path / 'file' / 'report', predictions)


def test_ids_of_another_split(tmp_path, predictions):
  with pytest.raises(ValueError, match='1 ids for 2 predictions'):
    report.write_report(
      tmp_path,
      predictions,
      ids=['one'],
      label_names=NAMES,
      protocol=PROTOCOL,
    )
