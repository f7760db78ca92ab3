"""Reading of prepared datasets: splits with random access to frames."""

import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vivit_jax.data import records, storage
from vivit_jax.data.catalogue import DATASETS, prepare_command
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.data.index import read_index, splits_in
from vivit_jax.errors import UserError, nearest


class VideoSplit:
  """The videos of a split, with random access to their frames.

  Can be pickled, for worker processes.

  Attributes:
    label_names: names of each head's labels, by label index; heads are sorted.
    ids: video ids, in the order of the index.
    labels: label indices of each head, int32 [n]; for a multi-label head, a
      list of lists.
    multi_label: the heads with any number of labels per video.
    frame_counts: number of frames of each video, int32 [n].
    frame_rates: frames per second of each video, float64 [n]; nan if unknown.
  """

  def __init__(self, folder: str | os.PathLike, split: str):
    """Reads the index in a folder such as data/videos/mine/1.0.0.

    Raises:
      UserError: a damaged index, or a missing shard.
    """
    self._folder, self._split = pathlib.Path(folder), split
    metadata = _metadata(self._folder)
    names = metadata['label_names']
    self.label_names = {head: names[head] for head in sorted(names)}
    self._store = storage.STORAGES[metadata['storage']]
    builder = tfds.builder_from_directory(self._folder)
    index = read_index(self._folder, split)
    self.ids = list(index.ids)
    self.frame_counts = np.asarray(index.frame_counts, np.int32)
    self.multi_label = frozenset(metadata.get('multi_label', ()))
    self.labels = {
      head: index.labels[head]
      if head in self.multi_label
      else np.asarray(index.labels[head], np.int32)
      for head in self.label_names
    }
    self._heads_on_disk = list(index.labels)
    self.frame_rates = np.asarray(index.rates, np.float64)
    counts = self.frame_counts.astype(np.int64)
    chunks = -(-counts // self._store.chunk_frames)
    if chunks.sum() != sum(index.shard_lengths):
      raise UserError(self._damage('the index does not match the shards'))
    self._first_chunks = np.cumsum(chunks) - chunks
    shard_names = sorted(builder.info.splits[split].filenames)
    missing = [s for s in shard_names if not (self._folder / s).exists()]
    if missing:
      raise UserError(self._damage(f'{missing[0]} is missing'))
    paths = [self._folder / name for name in shard_names]
    self._records = records.RecordReader(paths, index.shard_lengths)

  def __len__(self) -> int:
    return len(self.ids)

  @functools.cached_property
  def content(self) -> str:
    """Number of videos, and a digest of their ids, lengths and labels.

    It is equal for splits with the same content. Checkpoints store it, so its
    heads stay in the order of the index on disk.
    """
    labels = {
      head: self.labels[head]
      if head in self.multi_label
      else self.labels[head].tolist()
      for head in self._heads_on_disk
    }
    text = json.dumps([self.ids, self.frame_counts.tolist(), labels])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{len(self.ids)} videos (digest {digest[:12]})'

  def __repr__(self) -> str:
    return f'VideoSplit({str(self._folder)!r}, {self._split!r})'

  def labels_of(self, video: int) -> dict[str, np.ndarray]:
    """Returns a video's label for each head.

    A label is a class index, int32 []; for a multi-label head, float32 [K], 1
    for each class of the video and 0 for the others.
    """
    labels = {}
    for head, column in self.labels.items():
      if head in self.multi_label:
        labels[head] = np.zeros(len(self.label_names[head]), np.float32)
        labels[head][list(column[video])] = 1.0
      else:
        labels[head] = column[video]
    return labels

  def labels_of_each(self, videos: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the results of `labels_of`, stacked for each head."""
    rows = [self.labels_of(int(video)) for video in videos]
    return {
      head: np.stack([labels[head] for labels in rows]) for head in rows[0]
    }

  def read_frames(self, video: int, frames: Sequence[int]) -> list[np.ndarray]:
    """Returns an image uint8 RGB [H, W, 3] for each of `frames`.

    Frames are numbered from 0, in any order; repeated ones are decoded once.

    Raises:
      IndexError: no such video or frame.
      UnreadableVideo: a damaged record.
    """
    images = dict(self.decode_frames(video, frames))
    return [images[int(frame)] for frame in frames]

  def decode_frames(
    self, video: int, frames: Sequence[int]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Yields number and image of each requested frame, in ascending order.

    Like `read_frames`, but holds one image at a time in memory.
    """
    if not 0 <= video < len(self):
      raise IndexError(f'video {video} of {len(self)}')
    store = self._store
    numbers = sorted({int(frame) for frame in frames})
    if not numbers:
      return
    if numbers[0] < 0 or numbers[-1] >= self.frame_counts[video]:
      raise IndexError(f'frames {numbers} of {self.frame_counts[video]}')
    indices: dict[int, list[int]] = {}  # chunk -> indices of frames in it
    for number in numbers:
      chunk, index = divmod(number, store.chunk_frames)
      indices.setdefault(chunk, []).append(index)
    where = f"video '{self.ids[video]}' in {self._folder}"
    for chunk, data in self._read_chunks(video, list(indices), where).items():
      for index, image in store.unpack(data, indices[chunk], where):
        yield chunk * store.chunk_frames + index, image

  def _read_chunks(
    self, video: int, chunks: Sequence[int], where: str
  ) -> dict[int, Sequence[bytes]]:
    """Returns the encoded frames of a video's chunks, by chunk number."""
    first = int(self._first_chunks[video])
    try:
      read = self._records.__getitems__([first + chunk for chunk in chunks])
    except Exception as error:  # reader and parser raise many types
      reason = re.split(r'[;\n]', str(error) or repr(error))[0]
      raise UnreadableVideo(
        where,
        f'is in a damaged record ({reason}): prepare the dataset again with '
        '--overwrite',
      ) from None
    for chunk, record in zip(chunks, read, strict=True):
      expected = self.ids[video], chunk * self._store.chunk_frames
      if (record.video, record.first_frame) != expected:
        raise UnreadableVideo(where, 'is not at its position in the index')
    return {chunk: record.frames for chunk, record in zip(chunks, read)}

  def _damage(self, fault: str) -> str:
    return (
      f'{self._folder}: {fault}: prepare the dataset again with --overwrite.'
    )


def open_split(
  dataset: str, data_dir: str | os.PathLike, split: str
) -> VideoSplit:
  """Opens a split of a prepared dataset in the parent folder of all datasets.

  Raises:
    UserError: no such dataset, or no such split in it.
  """
  names = splits(dataset, data_dir)
  folder = find(dataset, data_dir)
  if split not in names:
    raise UserError(
      f"{folder} has no split '{split}'; it has {', '.join(names)}."
      f'{nearest(split, names)}'
    )
  return VideoSplit(folder, split)


def splits(dataset: str, data_dir: str | os.PathLike) -> list[str]:
  """Returns a prepared dataset's splits, sorted, or raises a UserError."""
  folder = find(dataset, data_dir)
  if folder is None:
    raise UserError(_not_prepared(dataset, pathlib.Path(data_dir)))
  return splits_in(folder)


def find(dataset: str, data_dir: str | os.PathLike) -> pathlib.Path | None:
  """Returns the folder of a prepared dataset, or None."""
  folder = pathlib.Path(data_dir, dataset, records.VERSION)
  return folder if (folder / 'dataset_info.json').exists() else None


def _not_prepared(dataset: str, data_dir: pathlib.Path) -> str:
  """Returns the error for a dataset that is not in a folder."""
  known = DATASETS.get(dataset.split('/')[0])
  name = dataset if known else f'videos/{dataset.replace("/", "_")}'
  if known and known.named and '/' not in name:
    name = f'{name}/NAME'
  prepared = {
    path.parent.parent.relative_to(data_dir).as_posix()
    for pattern in ('*/*/dataset_info.json', '*/*/*/dataset_info.json')
    for path in data_dir.glob(pattern)
  }
  hint = nearest(dataset, prepared)
  if prepared and not hint:
    hint = f' It has {", ".join(sorted(prepared))}.'
  return (
    f"{data_dir} has no prepared dataset '{dataset}': run "
    f'`{prepare_command(name)} --data_dir={data_dir}`.{hint}'
  )


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the validated metadata of a prepared dataset."""
  try:
    metadata = json.loads((folder / 'metadata.json').read_text('utf-8'))
    written = metadata['format']
    if written == records.FORMAT:
      storage.STORAGES[metadata['storage']]
      dict(metadata['label_names'])
  except (OSError, ValueError, KeyError, TypeError):
    raise UserError(
      f'{folder}/metadata.json is damaged: prepare the dataset again with '
      '--overwrite.'
    ) from None
  if written != records.FORMAT:
    raise UserError(
      f'{folder} has records of format {written}, but this version reads '
      f'{records.FORMAT}: prepare the dataset again with --overwrite.'
    )
  return metadata
