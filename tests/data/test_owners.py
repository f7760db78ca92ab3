"""Each dataset in its owners' format is prepared exactly; one is trained."""

import dataclasses
import importlib
import pathlib

import numbered
import owners
import pytest

from vivit_jax import config as configs
from vivit_jax.data import build_dir, catalogue, datasets, prepare, storage
from vivit_jax.data.annotations import Example
from vivit_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def write_and_prepare(folder, name, **options):
  dataset, arguments, expected, names = owners.COPIES[name](folder / 'raw')
  arguments |= {'data_dir': folder / 'data', 'workers': 1, 'any_labels': True}
  summary = prepare.prepare(dataset, **arguments | options)
  return dataset, summary, expected, names


@pytest.mark.slow
@pytest.mark.parametrize('name', owners.COPIES)
def test_the_owners_files_are_prepared_exactly(tmp_path, name, capsys):
  dataset, summary, expected, names = write_and_prepare(tmp_path, name)
  output = capsys.readouterr().out
  assert summary.broken == []
  for which, videos in expected.items():
    split = datasets.open_split(dataset, tmp_path / 'data', which)
    assert split.label_names == names
    assert split.ids == [identity for identity, *_ in videos]
    for index, (_, labels, frames) in enumerate(videos):
      for head, label in labels.items():
        assert names[head][split.labels[head][index]] == label
      images = split.read_frames(index, range(split.frame_counts[index]))
      seen = [numbered.number(image) for image in images]
      assert seen == frames, (which, index)
    official = catalogue.DATASETS[name].counts.get(which)
    suffix = f', officially {official}' if official else ''
    assert f'{which}: {len(videos)} videos, 0 skipped{suffix}' in output
  assert datasets.splits(dataset, tmp_path / 'data') == sorted(expected)


def test_frames_of_sequence_examples_are_copied(tmp_path):
  dataset, summary, *_ = write_and_prepare(tmp_path, 'sequence_examples')
  split = datasets.open_split(dataset, tmp_path / 'data', 'train')
  file = tmp_path / 'raw' / 'k-train.rgb.tfrecord-00000-of-00002'
  written = file.read_bytes()
  chunks = split._read_chunks(1, [0, 1], '')
  assert [len(held) for held in chunks.values()] == [10, 2]
  assert all(jpeg in written for held in chunks.values() for jpeg in held)
  assert summary.frames == 4 * 12


def test_a_damaged_record_is_skipped_by_name(tmp_path):
  raw = tmp_path / 'raw'
  _, arguments, *_ = owners.sequence_examples(raw)
  path = raw / 'k-train.rgb.tfrecord-00001-of-00002'
  data = bytearray(path.read_bytes())
  data[-1000] ^= 1
  path.write_bytes(data)
  summary = prepare.prepare(
    'sequence_examples/k', **arguments, data_dir=tmp_path, workers=1,
    max_broken=0.5,
  )  # fmt: skip
  ((broken, reason),) = summary.broken
  assert broken == path.name and 'byte 0' in reason
  data[3] ^= 1  # now the next cannot be found
  path.write_bytes(data)
  with pytest.raises(UserError, match=path.name):
    prepare.prepare(
      'sequence_examples/l', **arguments, data_dir=tmp_path, workers=1
    )


@pytest.mark.parametrize(
  'name, count', [('kinetics400', '400'), ('epic_kitchens_100', '97')]
)
def test_another_number_of_labels_is_refused(tmp_path, name, count):
  with pytest.raises(UserError, match=f'{count} .*--any_labels'):
    write_and_prepare(tmp_path, name, any_labels=False)


@pytest.mark.parametrize(
  'name', ['k400_l16x2_fe', 'k600_l16x2_fe', 'ssv2_l16x2_fe', 'ek100_l16x2_fe',
           'mit_l16x2_fe'],
)  # fmt: skip
def test_configs_have_the_official_numbers_of_classes(name):
  module = importlib.import_module(f'configs.{name}')
  config = configs.resolve(module.get_config())
  official = catalogue.DATASETS[config.data.dataset].classes
  assert dict(config.model.heads) == official


def test_a_video_that_appears_later_is_read(tmp_path, capsys):
  """In an alternative path: its class's folder."""
  raw = tmp_path / 'raw'
  dataset, arguments, *_ = owners.kinetics400(raw)
  where = raw / 'videos' / 'riding a bike' / '-Ab_0123456_000007_000017.mp4'
  content = where.read_bytes()
  where.unlink()
  arguments |= {'data_dir': tmp_path, 'workers': 1, 'any_labels': True}
  with pytest.raises(UserError, match='1 of 4 .*--max_broken'):
    prepare.prepare(dataset, **arguments)
  where.write_bytes(content)
  capsys.readouterr()
  summary = prepare.prepare(dataset, **arguments)
  assert summary.videos == 4
  # 12 frames at 10 a second are 1.2 s: 4 of them are 4.8 s.
  size = sum(path.stat().st_size for path in summary.folder.iterdir())
  output = capsys.readouterr().out
  assert f'({size / 1e6 * 3600 / 4.8:.0f} MB an hour of video)' in output


def test_frames_of_another_rate(tmp_path):
  """Frames n + 1, at n / 5 s: of the 10 a second by which actions count."""
  raw = tmp_path / 'raw'
  dataset, arguments, *_ = owners.epic(raw)
  frames = raw / 'EPIC-KITCHENS' / 'P03' / 'rgb_frames' / 'P03_04'
  for number in range(7, 21):
    (frames / f'frame_{number:010d}.jpg').unlink()
  (raw / 'EPIC_100_train.csv').unlink()
  arguments |= {'data_dir': tmp_path, 'workers': 1, 'any_labels': True}
  prepare.prepare(dataset, **arguments, frames_rate=5)
  split = datasets.open_split(dataset, tmp_path, 'validation')
  # 0.3 to 1.1 s: the frames at 0.4, 0.6, 0.8 and 1.0 s.
  images = split.read_frames(0, range(split.frame_counts[0]))
  assert [numbered.number(image) for image in images] == [2, 3, 4, 5]


def test_a_skipped_action_is_named_with_its_folder(tmp_path, capsys):
  raw = tmp_path / 'raw'
  owners.epic(raw)
  frames = raw / 'EPIC-KITCHENS' / 'P03' / 'rgb_frames' / 'P03_04'
  (frames / 'frame_0000000007.jpg').unlink()
  with pytest.raises(UserError, match='P03_04'):
    prepare.prepare(
      'epic_kitchens_100', annotations=raw, videos=raw / 'EPIC-KITCHENS',
      data_dir=tmp_path, workers=1, any_labels=True,
    )  # fmt: skip
  shown = capsys.readouterr().out.splitlines()
  (line,) = (line for line in shown if line.startswith('skipped'))
  for word in ('P03/rgb_frames/P03_04', 'P03_04_7', 'frame 7'):
    assert word in line


def test_segments_of_one_video_have_different_fingerprints():
  one = Example('a.mp4', 'a', {'label': 'x'}, start=0.0, end=1.0)
  options = storage.EncodingOptions('jpeg', 95, None)
  fingerprints = {
    build_dir.fingerprint({'train': [e]}, pathlib.Path('v'), {}, options)
    for e in (
      one,
      dataclasses.replace(one, end=2.0),
      dataclasses.replace(one, frames=(1, 9)),
    )
  }
  assert len(fingerprints) == 3
