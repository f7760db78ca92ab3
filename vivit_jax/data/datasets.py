"""Reading of what was prepared of the datasets, and its description for TFDS.

Reading needs no builder: `open_split` reads any folder of `records`' format.
"""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vivit_jax.data import records
from vivit_jax.data.builders import BUILDERS, prepare_command
from vivit_jax.errors import UserError, nearest


class VideoSplit:
  """The videos of one split, with random access to their frames.

  Reads through `tfds.data_source`; can be pickled, for worker processes.

  Attributes:
    label_names: of each head, in the order of label indices; heads sorted.
    ids: of the videos, in order.
    labels: of each head, int32 [n].
    frame_counts: of each video, int32 [n].
  """

  def __init__(self, folder: str | os.PathLike, split: str):
    """Reads the index of a folder that `open_split` has found."""
    self._folder, self._split = pathlib.Path(folder), split
    self.label_names = _label_names(self._folder)
    builder = tfds.builder_from_directory(self._folder)
    index = records.read_index(self._folder, split)
    self.ids = list(index.ids)
    self.frame_counts = np.asarray(index.frame_counts, np.int32)
    self.labels = {
      head: np.asarray(index.labels[head], np.int32)
      for head in self.label_names
    }
    chunks = records.chunks_of(self.frame_counts)
    self._first_chunks = np.cumsum(chunks) - chunks
    missing = [
      shard
      for shard in sorted(builder.info.splits[split].filenames)
      if not (self._folder / shard).exists()
    ]
    if missing:
      raise UserError(self._damage(f'{missing[0]} is missing'))
    self._source = builder.as_data_source(split)

  def __len__(self) -> int:
    return len(self.ids)

  def __repr__(self) -> str:
    return f'VideoSplit({str(self._folder)!r}, {self._split!r})'

  def read_frames(self, video: int, frames: Sequence[int]) -> list[bytes]:
    """Reads frames of a video; only the records that hold them, each once.

    Args:
      video: its place in the split, from 0.
      frames: numbers in the video, from 0; in any order, also repeated.

    Returns:
      The JPEG of each of `frames`, in their order.

    Raises:
      IndexError: a video or frame that there is not.
      UserError: a record that is damaged.
    """
    if not 0 <= video < len(self):
      raise IndexError(f'video {video} of {len(self)}')
    count = int(self.frame_counts[video])
    places = [divmod(int(frame), records.CHUNK_FRAMES) for frame in frames]
    if not places:
      return []
    if min(places) < (0, 0) or max(map(int, frames)) >= count:
      raise IndexError(f'frames {list(frames)} of {count}')
    wanted = sorted({chunk for chunk, _ in places})
    chunks = self._read_chunks(video, wanted)
    return [chunks[chunk][offset] for chunk, offset in places]

  def _read_chunks(
    self, video: int, wanted: Sequence[int]
  ) -> dict[int, list[bytes]]:
    """Returns chunks of a video, by their number in it."""
    first = int(self._first_chunks[video])
    try:
      found = self._source.__getitems__([first + chunk for chunk in wanted])
    except Exception as error:  # the reader's and the parser's are many
      reason = str(error).splitlines()[0] if str(error) else repr(error)
      raise UserError(self._damage(f'a record is damaged ({reason})')) from None
    for chunk, record in zip(wanted, found, strict=True):
      place = chunk * records.CHUNK_FRAMES
      frames = min(self.frame_counts[video] - place, records.CHUNK_FRAMES)
      whose = record['video'].decode(), record['first_frame']
      if whose != (self.ids[video], place) or len(record['frames']) != frames:
        raise UserError(self._damage('the records do not fit their index'))
    return {chunk: record['frames'] for chunk, record in zip(wanted, found)}

  def _damage(self, what: str) -> str:
    return (
      f'{self._folder}: {what}: prepare the dataset again, with --overwrite.'
    )


def open_split(
  dataset: str, data_dir: str | os.PathLike, split: str
) -> VideoSplit:
  """Opens a split of a prepared dataset, of its newest version.

  Args:
    dataset: 'moving_shapes', 'videos/mine'.
    data_dir: where `prepare` wrote it.
    split: 'train', 'validation', ...

  Raises:
    UserError: no such dataset there, or no such split in it.
  """
  there = splits(dataset, data_dir)
  folder = find(dataset, data_dir)
  if split not in there:
    raise UserError(
      f"{folder} has no split '{split}'; it has {', '.join(there)}."
      f'{nearest(split, there)}'
    )
  return VideoSplit(folder, split)


def splits(dataset: str, data_dir: str | os.PathLike) -> list[str]:
  """Returns the names of a prepared dataset's splits, sorted.

  Raises:
    UserError: no such dataset there.
  """
  folder = find(dataset, data_dir)
  if folder is None:
    raise UserError(_not_there(dataset, pathlib.Path(data_dir)))
  suffix = '.index.json'
  return sorted(
    path.name.removesuffix(suffix) for path in folder.glob(f'*{suffix}')
  )


def find(dataset: str, data_dir: str | os.PathLike) -> pathlib.Path | None:
  """Returns the folder of a dataset's newest version, or None."""
  folders = pathlib.Path(data_dir, dataset).glob('*/dataset_info.json')
  versions = {
    tfds.core.Version(path.parent.name): path.parent
    for path in folders
    if tfds.core.Version.is_valid(path.parent.name)
  }
  return versions[max(versions)] if versions else None


def write_info(
  dataset: str,
  folder: pathlib.Path,
  shard_lengths: Mapping[str, Sequence[int]],
  metadata: Mapping[str, Any],
) -> None:
  """Writes what makes a TFDS dataset of a folder of shards.

  Args:
    dataset: 'moving_shapes', 'videos/mine'.
    folder: of the shards.
    shard_lengths: of each split, the records of each shard.
    metadata: goes into metadata.json.
  """
  name, _, config = dataset.partition('/')
  builder = BUILDERS[name](
    data_dir=folder, config=config or None, file_format='array_record'
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name=name, filetype_suffix='array_record'
  )
  builder.info.set_splits(
    tfds.core.splits.SplitDict(
      [
        tfds.core.SplitInfo(
          name=split,
          shard_lengths=list(lengths),
          num_bytes=sum(
            path.stat().st_size
            for path in folder.glob(f'{name}-{split}.array_record-*-of-*')
          ),
          filename_template=template.replace(split=split),
        )
        for split, lengths in shard_lengths.items()
      ]
    )
  )
  builder.info.metadata.update(metadata)
  builder.info.write_to_directory(folder)


def _prepared(data_dir: pathlib.Path) -> Iterator[str]:
  """Yields the names of the datasets in a folder."""
  for pattern in ('*/*/dataset_info.json', '*/*/*/dataset_info.json'):
    for path in data_dir.glob(pattern):
      if tfds.core.Version.is_valid(path.parent.name):
        yield path.parent.parent.relative_to(data_dir).as_posix()


def _not_there(dataset: str, data_dir: pathlib.Path) -> str:
  known = dataset.split('/')[0] in BUILDERS
  name = dataset if known else f'videos/{dataset.replace("/", "_")}'
  if known and BUILDERS[dataset.split('/')[0]].MULTIPLE and '/' not in name:
    name = f'{name}/NAME'
  there = sorted(set(_prepared(data_dir)))
  hint = nearest(dataset, there)
  if there and not hint:
    hint = f' There is {", ".join(there)}.'
  return (
    f"no dataset '{dataset}' is prepared in {data_dir}: run "
    f'`{prepare_command(name)} --data_dir={data_dir}`.{hint}'
  )


def _label_names(folder: pathlib.Path) -> dict[str, list[str]]:
  """Returns the label names of a prepared dataset; heads sorted."""
  try:
    metadata = json.loads((folder / 'metadata.json').read_text('utf-8'))
    written, label_names = metadata['format'], metadata['label_names']
  except (OSError, ValueError, KeyError):
    raise UserError(
      f'{folder}/metadata.json is damaged: prepare the dataset again, with '
      '--overwrite.'
    ) from None
  if written != records.FORMAT:
    raise UserError(
      f'{folder} is in format {written} of records, and this version reads '
      f'{records.FORMAT}: prepare the dataset again, with --overwrite.'
    )
  return {head: label_names[head] for head in sorted(label_names)}
