"""A session of evaluate.py with a predictor that needs no model."""

import json
import types

import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.evaluation import evaluate
from vivit_jax.evaluation.checkpoint_selection import Candidate
from vivit_jax.evaluation.predictions import Table

NAMES = {'verb': ['open', 'close']}


class Predictor:
  """Stands for SplitPredictor: all videos are of class 'open'."""

  def __init__(self, config, source):
    del config, source
    self.calls = 0

  def protocol(self, loaded):
    return {
      'temporal_views': 1, 'spatial_crops': 1, 'average': 'logits',
      'checkpoint': loaded.name, 'step': loaded.step, 'digest': loaded.digest,
    }  # fmt: skip

  def predict(self, loaded, out):
    del out
    self.calls += 1
    print('predicting')
    table = Table(
      ids=['a.mp4', 'b.mp4'],
      logits={'verb': np.float32([[[1, 0]], [[1, 0]]])},
      labels={'verb': np.int32([0, 1])},
      class_names=NAMES,
      protocol=self.protocol(loaded) | {'examples': 2, 'unreadable': []},
    )
    return table, types.SimpleNamespace(remove=lambda: None)


class Source:
  label_names = NAMES

  def __len__(self):
    return 2


@pytest.fixture
def session(tmp_path, monkeypatch):
  monkeypatch.setattr(evaluate, 'SplitPredictor', Predictor)

  def write(where, table, results, **_):
    (where / 'metrics.json').write_text(json.dumps(results))

  monkeypatch.setattr(evaluate.report, 'write', write)
  return evaluate.Session(configs.TrainConfig(), Source(), tmp_path / 'out')


def candidate(step):
  loaded = LoadedModel(
    f'step {step}', configs.TrainConfig(), {'w': np.full(3, step)}, NAMES,
    step=step,
  )  # fmt: skip
  return Candidate(
    f'step {step}', f'step_{step}', lambda: loaded, f'run/{step}'
  )


def test_settings_are_printed_once_and_before_the_first_prediction(
  session, capsys
):
  for step in (2, 4):
    session.score(candidate(step), session.out / f'step_{step}')
  lines = capsys.readouterr().out.splitlines()
  first = lines.index('predicting')
  assert sum(line.startswith('checkpoint') for line in lines[:first]) == 1
  assert any('open, close' in line for line in lines[:first])
  after = lines[first:]
  assert any('run/4' in line for line in after)
  assert not any('open, close' in line for line in after)
  assert [row['verb/top1'] for row in session.rows] == [0.5, 0.5]


def test_finished_results_are_not_computed_again(session):
  where = session.out / 'step_2'
  session.score(candidate(2), where)
  session.score(candidate(2), where, again=False)
  assert session._predictor.calls == 1
  session.score(candidate(4), where, again=False)  # other weights
  session.score(candidate(4), where)
  assert session._predictor.calls == 3
  assert session.results['step 4']['protocol']['step'] == 4
