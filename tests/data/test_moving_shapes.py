"""The embedded dataset: reproducible, H.264, and balanced between verbs."""

import csv
import os
import pathlib
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from vivit_jax.data import moving_shapes, scenes
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
SCENE = scenes.Scene()


def render(verb, noun, seed):
  return scenes.render(verb, noun, SCENE, np.random.default_rng(seed))


def test_there_and_back():
  course = scenes.there_and_back(frames=9, loop=8, begun=0.0, turning=4.0)
  np.testing.assert_allclose(
    course, [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
  )
  course = scenes.there_and_back(frames=6, loop=5, begun=1.0, turning=2.0)
  np.testing.assert_allclose(course, [1 / 2, 1, 2 / 3, 1 / 3, 0, 1 / 2])


def test_twin_verbs_are_one_loop_begun_half_a_loop_apart():
  """So no average over the loop distinguishes them."""
  for begun, early in np.random.default_rng(0).uniform(0, 3, (20, 2)):
    one = scenes.there_and_back(24, 16, begun, begun + 8 - early)
    twin = scenes.there_and_back(24, 16, early, early + 8 - begun)
    np.testing.assert_allclose(one[8:], 1 - twin[:16], atol=1e-12)


def centre(frame, still):
  """Returns x, y of what differs from a still background, and its area."""
  changed = np.abs(frame.astype(float) - still).sum(-1) > 60
  rows, columns = np.nonzero(changed)
  return columns.mean(), rows.mean(), changed.sum()


@pytest.mark.parametrize(
  'verb, which, sign',
  [
    ('left_then_right', 0, -1),
    ('right_then_left', 0, 1),
    ('up_then_down', 1, -1),
    ('down_then_up', 1, 1),
    ('grow_then_shrink', 2, 1),
    ('shrink_then_grow', 2, -1),
  ],
)
def test_verbs_do_what_they_say(verb, which, sign):
  scene = scenes.Scene(clutter=0, texture=0.0, noise=0.0)
  for seed in range(5):
    video = scenes.render(verb, 'circle', scene, np.random.default_rng(seed))
    still = np.median(video.reshape(-1, 3), axis=0)  # most of it is background
    course = sign * np.array([centre(frame, still)[which] for frame in video])
    turning = int(np.argmax(course))
    assert 3 < turning < 14
    assert course[turning] > max(course[0], course[15])


def test_videos_are_functions_of_seed_split_and_number(tmp_path):
  counts = {'train': 3, 'validation': 2, 'test': 2}
  for name in ('a', 'b'):
    moving_shapes.generate(tmp_path / name, counts=counts, workers=1)
  videos = sorted((tmp_path / 'a' / 'videos').iterdir())
  assert len(videos) == 7
  contents = [path.read_bytes() for path in videos]
  again = [tmp_path / 'b' / 'videos' / path.name for path in videos]
  assert contents == [path.read_bytes() for path in again]
  assert len(set(contents)) == 7  # splits share no seed
  with open(tmp_path / 'a' / 'annotations.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['split'] for row in rows] == ['train'] * 3 + [
    'validation', 'validation', 'test', 'test'
  ]  # fmt: skip
  with av.open(str(videos[0])) as container:
    assert container.streams.video[0].codec_context.name == 'h264'
    assert sum(1 for _ in container.decode(video=0)) == SCENE.frames


def test_the_same_pixels_are_always_the_same_file(tmp_path):
  """For any alignment and previous content of the memory."""
  whole = render('right_then_left', 'square', 4)
  files = set()
  for offset in range(40):
    memory = np.full(whole.size + 64, offset, np.uint8)
    video = memory[offset : offset + whole.size].reshape(whole.shape)
    video[:] = whole
    moving_shapes.write_video(tmp_path / 'a.mp4', video)
    files.add((tmp_path / 'a.mp4').read_bytes())
  assert len(files) == 1


def test_shapes_stay_in_the_picture():
  for number in range(64):
    verb, noun = moving_shapes.labels_of(number)
    scene = scenes.Scene(clutter=0, texture=0.0, noise=0.0)
    video = scenes.render(verb, noun, scene, np.random.default_rng(number))
    border = np.concatenate(
      [video[:, 0], video[:, -1], video[:, :, 0], video[:, :, -1]], axis=1
    )
    assert np.ptp(border, axis=(0, 1)).max() < 3


def test_an_unwritable_folder_is_refused(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=str(tmp_path / 'file')):
    moving_shapes.generate(tmp_path / 'file', counts={'train': 1})


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_loses_no_video(tmp_path, ctrl_c_heeded):
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'vivit_jax.data.prepare', 'moving_shapes'),
      *(f'--out={tmp_path}', '--num_workers=2'),
    ],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  raw = tmp_path / 'raw' / 'moving_shapes'
  while not any(raw.glob('videos/*.mp4')) and process.poll() is None:
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=300)
  assert process.returncode == 130, err
  assert 'Traceback' not in err and 'the same command goes on' in err
  assert not (raw / 'annotations.csv').exists()
  before = {p: p.stat().st_mtime_ns for p in raw.glob('videos/*.mp4')}
  moving_shapes.generate(raw, {'train': 300}, workers=2)
  assert {p: p.stat().st_mtime_ns for p in before} == before
  assert len(list(raw.glob('videos/train*.mp4'))) >= 300
