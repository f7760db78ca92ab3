"""Selected checkpoints, and the names of their output folders."""

import shutil

import pytest
import reference

from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.evaluation import checkpoint_selection

CONFIG = configs.TrainConfig()


@pytest.fixture
def run(tmp_path):
  for name in ('20', '100', '3', '7.damaged', '9.orbax-checkpoint-tmp-1'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  return tmp_path


def steps(run, *which):
  found = checkpoint_selection.of_run(run, which, lambda config: config)
  return [candidate.folder for candidate in found]


def test_steps_of_a_run(run):
  assert steps(run, 'last') == ['step_100']
  assert steps(run, '20', 'last', '20', 'all') == [
    *('step_20', 'step_100', 'step_3'),
  ]
  found = checkpoint_selection.of_run(run, ['all'], lambda config: config)
  assert [(x.folder, x.role) for x in found] == [
    *(('step_3', ''), ('step_20', ''), ('step_100', 'last')),
  ]
  assert found[0].path == str(run / 'checkpoints' / '3')


def test_unknown_steps(run, tmp_path):
  with pytest.raises(UserError, match="'lats'.* 3, 20, 100"):
    steps(run, 'lats')
  # A missing step is refused when it is read, so that the others are scored.
  assert steps(run, '3', '7') == ['step_3', 'step_7']
  with pytest.raises(UserError, match='none'):
    steps(tmp_path / 'none', 'all')


def test_flags_are_split_but_for_paths_that_are_there(tmp_path):
  (tmp_path / 'a,b').write_text('')
  both = str(tmp_path / 'a,b')
  found = checkpoint_selection.split(['1,2', both, 'best', '3,'])
  assert found == ['1', '2', both, 'best', '3']
  with pytest.raises(UserError, match='--checkpoint'):
    checkpoint_selection.split(['', ',,'])


def folders(*paths):
  found = checkpoint_selection.of_paths([str(p) for p in paths], CONFIG, {})
  return {candidate.folder: candidate.name for candidate in found}


def test_a_folder_of_folders_and_files(tmp_path):
  fixtures = reference.FIXTURES
  shutil.copytree(fixtures / 'model1_joint', tmp_path / 'joint')
  shutil.copytree(fixtures / 'huggingface_vivit', tmp_path / 'hugging')
  shutil.copy(fixtures / 'image_vit' / 'big_vision.npz', tmp_path / 'a.npz')
  (tmp_path / 'readme.md').write_text('three models')
  (tmp_path / 'empty').mkdir()
  assert folders(tmp_path) == {
    name: str(tmp_path / name) for name in ('a.npz', 'hugging', 'joint')
  }


def test_equal_names_are_told_apart(tmp_path):
  paths = []
  for name in ('one run/weights', 'two/weights', 'one run/two/weights'):
    (tmp_path / name).parent.mkdir(parents=True)
    paths.append(tmp_path / name)
    shutil.copy(reference.FIXTURES / 'model1_joint' / 'checkpoint', paths[-1])
  found = folders(*paths)
  assert list(found) == ['weights', 'two-weights', 'one_run-two-weights']


def test_a_checkpoint_that_is_named_twice_is_one(tmp_path, monkeypatch):
  fixtures = reference.FIXTURES
  several = tmp_path / 'several'
  several.mkdir()
  shutil.copy(fixtures / 'model1_joint' / 'checkpoint', several / 'scenic')
  shutil.copy(fixtures / 'image_vit' / 'big_vision.npz', several / 'a.npz')
  (tmp_path / 'link').symlink_to(several / 'scenic')
  monkeypatch.chdir(tmp_path)
  # Of the folder, by its path, by another one, by a link.
  found = folders(several, several / 'scenic', 'several/scenic', 'link')
  assert list(found) == ['a.npz', 'scenic']
  # A folder and the only file in it.
  joint = fixtures / 'model1_joint'
  assert len(folders(joint, joint / 'checkpoint')) == 1


def test_a_path_that_is_not_there():
  (candidate,) = checkpoint_selection.of_paths(['/nowhere/x'], CONFIG, {})
  with pytest.raises(UserError, match='/nowhere/x'):
    candidate.load()
