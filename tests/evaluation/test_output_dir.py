"""Results go into empty folders, and into those of evaluations."""

import json

import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import output_dir


def results(path):
  path.mkdir(parents=True, exist_ok=True)
  (path / 'metrics.json').write_text(json.dumps({'protocol': {}}))
  (path / 'predictions.npz').write_bytes(b'')


def test_new_empty_and_own_folders_are_taken(tmp_path):
  with output_dir.claimed(tmp_path / 'a' / 'b'):
    assert (tmp_path / 'a' / 'b').is_dir()
  results(tmp_path / 'own')
  (tmp_path / 'own' / 'notes.txt').write_text('mine')  # beside results, it may
  with output_dir.claimed(tmp_path / 'own'):
    pass
  several = tmp_path / 'several'
  results(several / 'step_1')
  (several / 'step_2' / '.unfinished-0').mkdir(parents=True)
  (several / 'step_3').mkdir()
  (several / 'scores.csv').write_text('')
  with output_dir.claimed(several):
    pass


@pytest.mark.parametrize(
  'name', ['thesis.tex', 'metrics.json', 'checkpoints/100/state', 'predictions']
)
def test_foreign_folders_are_refused_and_left_alone(tmp_path, name):
  path = tmp_path / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('{"loss": 1}')
  with pytest.raises(UserError, match=name.split('/')[0]):
    with output_dir.claimed(tmp_path):
      raise AssertionError
  assert path.read_text() == '{"loss": 1}'


def test_a_folder_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(output_dir.UnwritableOutput, match='file/x'):
    with output_dir.claimed(tmp_path / 'file' / 'x'):
      raise AssertionError


def test_one_evaluation_at_a_time(tmp_path):
  with output_dir.claimed(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
      with output_dir.claimed(tmp_path):
        raise AssertionError
  with output_dir.claimed(tmp_path):
    pass
