"""Preparation: every video once, exact frames, resumable, all or nothing."""

import csv
import hashlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import owners
import pytest
import tensorflow_datasets as tfds
from conftest import names, opened, run, video, write_broken, write_csv

from vivit_jax import locks
from vivit_jax.data import (
  datasets,
  decode,
  index,
  moving_shapes,
  prepare,
  records,
  shards,
  storage,
)
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def command(tmp_path, annotations, data_dir='data', workers=1):
  return [
    'vivit_jax.data.prepare', 'videos/mine', f'--videos={tmp_path / "videos"}',
    f'--annotations={annotations}', f'--data_dir={tmp_path / data_dir}',
    f'--workers={workers}',
  ]  # fmt: skip


def contents(data_dir):
  """Returns all ids, labels and frames of the split 'train'."""
  split = datasets.open_split('videos/mine', data_dir, 'train')
  counts = enumerate(split.frame_counts)
  frames = [
    np.stack(split.read_frames(n, range(k))).tobytes() for n, k in counts
  ]
  return split.ids, split.labels['label'].tolist(), frames


def test_every_video_once_with_its_frames_and_label(tmp_path, videos):
  summary = run(tmp_path, names())
  assert (summary.videos, summary.frames, summary.broken) == (10, 230, [])
  split = opened(tmp_path)
  assert split.ids == names()
  assert split.label_names == {'label': ['even', 'odd']}
  assert split.labels['label'].tolist() == [0, 1] * 5
  assert split.frame_counts.tolist() == [23] * 10
  for number in (0, 7):
    frames = list(decode.decode_video(videos / f'{number}.mp4'))
    # In any order, again, and across the bounds of chunks of 10.
    asked = [22, 0, 9, 10, 9, 19, 20]
    found = split.read_frames(number, asked)
    for place, frame in zip(asked, found, strict=True):
      jpeg = decode.encode_jpeg(frames[place])
      np.testing.assert_array_equal(frame, decode.decode_jpeg(jpeg, ''))
  with pytest.raises(IndexError):
    split.read_frames(0, [23])


def test_content_is_a_digest_of_the_index_as_it_is_written(tmp_path, videos):
  rows = ['0.mp4,go,car', '1.mp4,come,boat;car', '2.mp4,come,']
  annotations = tmp_path / 'a.csv'
  annotations.write_text('\n'.join(['path,verb,noun[]', *rows]) + '\n')
  folder = run(tmp_path, [], annotations=annotations).folder
  path = index.index_path(folder, 'train')
  content = json.loads(path.read_text('utf-8'))
  labels = {'verb': [1, 0, 0], 'noun': [[1], [0, 1], []]}
  assert content['labels'] == labels
  for heads in (['verb', 'noun'], ['noun', 'verb']):
    content['labels'] = {head: labels[head] for head in heads}
    path.write_text(json.dumps(content), 'utf-8')
    text = json.dumps([names(3), [23] * 3, content['labels']])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    split = opened(tmp_path)
    assert split.content == f'3 videos (digest {digest})'
    assert split.multi_label == {'noun'}
    seen = [split.labels_of(video) for video in range(3)]
    assert [x['verb'] for x in seen] == [1, 0, 0]
    assert [x['noun'].tolist() for x in seen] == [[0, 1], [1, 1], [0, 0]]


def test_only_the_chunks_of_the_frames_are_read(tmp_path, videos):
  run(tmp_path, names(2))
  split = opened(tmp_path)
  requested, reader = [], split._records

  class Counting:
    def __getitems__(self, indices):
      requested.append(list(indices))
      return reader.__getitems__(indices)

  split._records = Counting()
  split.read_frames(1, [12, 3, 5, 13])
  assert requested == [[3, 4]]  # after the 3 chunks of video 0


def test_records_of_all_shards_come_as_tfds_reads_them(tmp_path, videos):
  folder = run(tmp_path, names(3)).folder  # 3 shards of 3 records
  expected = tfds.builder_from_directory(folder).as_data_source('train')
  assert [len(record['frames']) for record in expected] == [10, 10, 3] * 3
  frame = decode.decode_jpeg(expected[3]['frames'][0], '')
  np.testing.assert_allclose(frame.astype(int), video(1)[0], atol=40)
  reader = records.RecordReader(
    sorted(folder.glob('*.array_record-*')),
    index.read_index(folder, 'train').shard_lengths,
  )
  requested = [8, 0, 4, 3, 0]
  reader.__getitems__(requested)
  reader = pickle.loads(pickle.dumps(reader))  # opens its files again
  for i, record in zip(requested, reader.__getitems__(requested), strict=True):
    assert list(record.frames) == list(expected[i]['frames'])
    assert record.video == expected[i]['video'].decode()
    assert record.first_frame == expected[i]['first_frame']


def test_broken_videos_are_skipped_by_name_below_the_share(
  tmp_path, videos, capsys
):
  reasons = write_broken(videos)
  every = [*names(), *reasons]
  with pytest.raises(UserError, match='5 of 15 .*skipped.csv.*--max_broken'):
    run(tmp_path, every, max_broken=0.3)
  assert not (tmp_path / 'data' / 'videos' / 'mine' / '1.0.0').exists()
  # A repaired video is read by the next run.
  moving_shapes.write_video(videos / 'cut.mp4', video(99))
  del reasons['cut.mp4']
  summary = run(tmp_path, every, max_broken=0.3)
  assert summary.videos == 11
  output = capsys.readouterr().out
  with open(summary.folder / 'skipped.csv', newline='') as file:
    rows = {row['path']: row['reason'] for row in csv.DictReader(file)}
  assert rows.keys() == reasons.keys()
  for name, reason in reasons.items():
    assert reason in rows[name]
    assert f'skipped: {name}' in output
  split = opened(tmp_path)
  assert sorted(split.ids) == sorted([*names(), 'cut.mp4'])


def test_the_same_again_does_nothing_and_other_inputs_are_refused(
  tmp_path, videos, capsys
):
  folder = run(tmp_path, names(4)).folder
  before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  run(tmp_path, names(4))
  assert '--overwrite' in capsys.readouterr().out
  assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  with pytest.raises(UserError, match='--overwrite'):
    run(tmp_path, names(5))
  assert run(tmp_path, names(5), overwrite=True).videos == 5


@pytest.mark.slow
def test_kills_lose_and_duplicate_nothing(tmp_path, videos):
  """Finished shards are kept; the result is that of an uninterrupted run."""
  for number in range(10, 320):
    os.link(videos / f'{number % 10}.mp4', videos / f'{number}.mp4')
  annotations = write_csv(tmp_path, names(320))

  def program(data_dir):
    arguments = command(tmp_path, annotations, data_dir, workers=2)
    return [sys.executable, '-m', *arguments]

  growing = tmp_path / 'data' / 'videos' / 'mine' / '1.0.0.incomplete'

  def finished():
    reports = [path.with_suffix('') for path in growing.glob('*-of-*.json')]
    return {path.name: path.stat().st_mtime_ns for path in reports}

  rng, before = np.random.default_rng(0), {}
  for kill in range(5):  # two at any time, three after a new shard
    process = subprocess.Popen(program('data'), cwd=ROOT)
    while process.poll() is None:
      if growing.exists() and (kill < 2 or len(finished()) > len(before)):
        break
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert finished().items() >= before.items()
    before = finished()
  for folder in ('data', 'other'):
    subprocess.run(program(folder), cwd=ROOT, check=True)
  final = growing.with_name('1.0.0')
  for name, written in before.items():  # not written again
    assert (final / name).stat().st_mtime_ns == written
  assert contents(tmp_path / 'data') == contents(tmp_path / 'other')
  assert not growing.exists()


def test_label_names_of_another_dataset_set_the_order(tmp_path, videos):
  folder = run(tmp_path, names()).folder
  run(tmp_path, names(1), label_names=folder, data_dir=tmp_path / 'later')
  split = datasets.open_split('videos/mine', tmp_path / 'later', 'train')
  assert split.label_names == {'label': ['even', 'odd']}


@pytest.mark.parametrize(
  'dataset, options, words',
  [
    ('video/mine', {}, "'video/mine'.*'videos'"),
    ('videos', {}, 'videos/NAME'),
    ('videos/mine', {'videos': 'x'}, 'x'),
    ('videos/mine', {'videos': '.'}, '--videos.*0.mp4'),
    ('videos/mine', {'storage': 'video', 'quality': 80}, '--quality.*80'),
    ('videos/mine', {'split_number': 2}, '--split_number'),
    ('ucf101', {'labels': ['a']}, '--labels'),
    ('ucf101', {'frames_rate': 5}, '--frames_rate'),
    ('videos/mine', {'data_dir': 'videos/0.mp4'}, '0.mp4'),
  ],
)
def test_invalid_inputs_are_refused(
  tmp_path, videos, monkeypatch, dataset, options, words
):
  monkeypatch.chdir(tmp_path)
  write_csv(tmp_path, names(2))
  arguments = {'videos': videos, 'annotations': 'annotations.csv', 'workers': 1}
  with pytest.raises(UserError, match=words) as caught:
    prepare.prepare(dataset, **arguments | options)
  assert '\n' not in str(caught.value)


def test_a_dataset_that_is_not_prepared_is_named_with_its_command(prepared):
  with pytest.raises(UserError, match='prepare videos/x'):
    datasets.open_split('videos/x', prepared, 'train')
  with pytest.raises(UserError, match="'moving_shapes'"):
    datasets.open_split('moving_shape', prepared, 'train')
  with pytest.raises(UserError, match="'tset'"):
    datasets.open_split('moving_shapes', prepared, 'tset')


def test_a_full_disk_is_one_sentence(tmp_path, videos):
  code = (
    'import resource, runpy;'
    'resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));'
    'runpy.run_module("vivit_jax.data.prepare", run_name="__main__")'
  )
  _, *arguments = command(tmp_path, write_csv(tmp_path, names()))
  done = subprocess.run(
    [sys.executable, '-c', code, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  last = done.stderr.strip().splitlines()[-1]
  assert done.returncode == 2
  assert last.startswith('error: ') and str(tmp_path / 'data') in last
  assert 'Traceback' not in done.stderr


def test_a_second_process_is_kept_out(tmp_path, videos):
  growing = tmp_path / 'data' / 'videos' / 'mine' / '1.0.0.incomplete'
  growing.mkdir(parents=True)
  with locks.locked(growing, ''):
    with pytest.raises(UserError, match=str(growing.parent)):
      run(tmp_path, names(2))
  assert run(tmp_path, names(2)).videos == 2


@pytest.mark.slow
def test_records_are_written_and_read_without_tensorflow(tmp_path):
  owners.sequence_examples(tmp_path / 'raw')
  code = """
import importlib.machinery, pickle, sys
class Without(importlib.machinery.PathFinder):
  @classmethod
  def find_spec(cls, name, path=None, target=None):
    if name.split('.')[0] == 'tensorflow':
      return None
    return super().find_spec(name, path, target)
place = sys.meta_path.index(importlib.machinery.PathFinder)
sys.meta_path[place] = Without
import tensorflow_datasets as tfds
from vivit_jax.data import check, datasets, decode, prepare
name, out = 'sequence_examples/k', sys.argv[1]
prepare.prepare(name, videos=out + '/raw', data_dir=out, workers=1)
split = datasets.open_split(name, out, 'train')
split = pickle.loads(pickle.dumps(split))
source = tfds.data_source(name, data_dir=out, split='train')
frame = decode.decode_jpeg(source[2]['frames'][9], '')
print((split.read_frames(1, [9])[0] == frame).all())
"""
  done = subprocess.run(
    [sys.executable, '-c', code, tmp_path],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout.strip().endswith('True'), done.stderr


def test_plan_spreads_all_videos_over_bounded_shards(tmp_path):
  examples = list(range(100_000))
  options = storage.EncodingOptions('jpeg', 95, None)
  splits = {'train': examples}
  tasks = shards.plan('videos', splits, tmp_path, tmp_path, options)
  assert len(tasks) == 256
  assert [e for task in tasks for e in task.examples] == examples
