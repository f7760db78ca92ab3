"""What is written never takes the place of a video that is read."""

import os
import pathlib

import pytest

from vivit_jax.errors import UserError
from vivit_jax.inference import places


@pytest.fixture
def video(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = pathlib.Path('v/a.mp4')
  path.parent.mkdir()
  path.write_text('a video')
  return path


def refused(path, *videos):
  with pytest.raises(UserError) as error:
    places.check_features(path, videos)
  return str(error.value)


def test_features_never_replace_a_video(video):
  for spelling in ('v/a.mp4', 'v/../v/a.mp4', os.path.abspath(video)):
    assert 'is one of the videos' in refused(spelling, video)
  named = video.with_name('b.npz')
  video.rename(named)
  assert 'is one of the videos' in refused('v/b.npz', named)
  places.check_features('v/c.npz', [named])


def test_features_are_of_a_file_that_can_be(video):
  assert 'does not end in .npz' in refused('v/other.mp4', video)
  pathlib.Path('d.npz').mkdir()
  assert 'd.npz: it is a folder' in refused('d.npz', video)
  assert 'none is no folder' in refused('none/x.npz', video)
  assert 'a.mp4 is no folder' in refused('v/a.mp4/x.npz', video)


def test_pictures_never_replace_a_video(video):
  moving = video.with_name('b.gif')
  video.rename(moving)
  with pytest.raises(UserError, match=r'b\.gif is one of the videos'):
    places.check_pictures('v', ['b'], places.PICTURES, [moving])
  places.check_pictures('v', ['b'], (places.TIMELINE,), [moving])
  places.check_pictures('elsewhere', ['b'], places.PICTURES, [moving])
