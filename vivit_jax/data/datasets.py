"""Reading of what was prepared of the datasets, and its description for TFDS.

Reading needs no builder: `open_split` reads any folder of `records`' format.
"""

import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from vivit_jax.data import records, storage
from vivit_jax.data.builders import BUILDERS, prepare_command
from vivit_jax.data.containers import UnreadableVideo
from vivit_jax.errors import UserError, nearest


class VideoSplit:
  """The videos of one split, with random access to their frames.

  Can be pickled, for worker processes.

  Attributes:
    label_names: of each head, in the order of label indices; heads sorted.
    ids: of the videos, in order.
    labels: of each head, int32 [n]; of a multi-label head, a list of lists.
    multi_label: the heads of which a video may have any number of labels.
    frame_counts: of each video, int32 [n].
    rates: frames a second of each video, float64 [n]; nan: not known.
  """

  def __init__(self, folder: str | os.PathLike, split: str):
    """Reads the index of a folder that `open_split` has found."""
    self._folder, self._split = pathlib.Path(folder), split
    metadata = _metadata(self._folder)
    names = metadata['label_names']
    self.label_names = {head: names[head] for head in sorted(names)}
    self._storage = metadata['storage']
    builder = tfds.builder_from_directory(self._folder)
    index = records.read_index(self._folder, split)
    self.ids = list(index.ids)
    self.frame_counts = np.asarray(index.frame_counts, np.int32)
    self.multi_label = frozenset(metadata.get('multi_label', ()))
    self.labels = {
      head: index.labels[head]
      if head in self.multi_label
      else np.asarray(index.labels[head], np.int32)
      for head in self.label_names
    }
    self._written_heads = list(index.labels)
    self.rates = np.asarray(index.rates, np.float64)
    store = storage.find(self._storage)
    chunks = records.chunks_of(self.frame_counts, store.chunk_frames)
    if chunks.sum() != sum(index.shard_lengths):
      raise UserError(self._damage('the index does not fit its shards'))
    self._first_chunks = np.cumsum(chunks) - chunks
    shard_names = sorted(builder.info.splits[split].filenames)
    missing = [s for s in shard_names if not (self._folder / s).exists()]
    if missing:
      raise UserError(self._damage(f'{missing[0]} is missing'))
    paths = [self._folder / name for name in shard_names]
    self._source = records.Source(paths, index.shard_lengths)

  def __len__(self) -> int:
    return len(self.ids)

  @functools.cached_property
  def content(self) -> str:
    """The number of videos, and a digest of their names, lengths and labels.

    For people and for comparison. The digest is of the index as it is written.
    """
    labels = {
      head: self.labels[head]
      if head in self.multi_label
      else self.labels[head].tolist()
      for head in self._written_heads
    }
    text = json.dumps([self.ids, self.frame_counts.tolist(), labels])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{len(self.ids)} videos (digest {digest[:12]})'

  def __repr__(self) -> str:
    return f'VideoSplit({str(self._folder)!r}, {self._split!r})'

  def labels_of(self, video: int) -> dict[str, np.ndarray]:
    """Returns a video's label of each head.

    int32 [], a class; of a multi-label head float32 [K], 1 at each label.
    """
    found = {}
    for head, column in self.labels.items():
      if head in self.multi_label:
        found[head] = np.zeros(len(self.label_names[head]), np.float32)
        found[head][list(column[video])] = 1.0
      else:
        found[head] = column[video]
    return found

  def read_frames(self, video: int, frames: Sequence[int]) -> list[np.ndarray]:
    """Reads and decodes frames of a video, each once.

    Args:
      video: its place in the split, from 0.
      frames: numbers in the video, from 0; in any order, also repeated.

    Returns:
      uint8 RGB [H, W, 3] of each of `frames`, in their order.

    Raises:
      IndexError: a video or frame that there is not.
      UnreadableVideo: a record that is damaged.
    """
    found = dict(self.decode_frames(video, frames))
    return [found[int(frame)] for frame in frames]

  def decode_frames(
    self, video: int, frames: Sequence[int]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Yields number and image of frames as they are decoded, each once.

    As `read_frames`, but in rising order, and one at a time in memory.
    """
    if not 0 <= video < len(self):
      raise IndexError(f'video {video} of {len(self)}')
    store = storage.find(self._storage)
    numbers = sorted({int(frame) for frame in frames})
    if not numbers:
      return
    if numbers[0] < 0 or numbers[-1] >= self.frame_counts[video]:
      raise IndexError(f'frames {numbers} of {self.frame_counts[video]}')
    places: dict[int, list[int]] = {}  # chunk -> places in it
    for number in numbers:
      chunk, place = divmod(number, store.chunk_frames)
      places.setdefault(chunk, []).append(place)
    where = f"video '{self.ids[video]}' in {self._folder}"
    for chunk, held in self._read_chunks(video, list(places), where).items():
      for place, image in store.unpack(held, places[chunk], where):
        yield chunk * store.chunk_frames + place, image

  def _read_chunks(
    self, video: int, wanted: Sequence[int], where: str
  ) -> dict[int, Sequence[bytes]]:
    """Returns what chunks of a video hold, by their number in it."""
    first = int(self._first_chunks[video])
    chunk_frames = storage.find(self._storage).chunk_frames
    try:
      found = self._source.__getitems__([first + chunk for chunk in wanted])
    except Exception as error:  # the reader's and the parser's are many
      reason = re.split(r'[;\n]', str(error) or repr(error))[0]
      raise UnreadableVideo(
        where,
        f'lies in a damaged record ({reason}): prepare the dataset again, with '
        '--overwrite',
      ) from None
    for chunk, record in zip(wanted, found, strict=True):
      whose = record.video, record.first_frame
      if whose != (self.ids[video], chunk * chunk_frames):
        raise UnreadableVideo(where, 'is not where the index has it')
    return {chunk: record.frames for chunk, record in zip(wanted, found)}

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


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
  """Returns `label_names`, `storage` and more of a prepared dataset."""
  try:
    metadata = json.loads((folder / 'metadata.json').read_text('utf-8'))
    written = metadata['format']
    if written == records.FORMAT:
      storage.find(metadata['storage'])
      dict(metadata['label_names'])
  except (OSError, ValueError, KeyError, TypeError):
    raise UserError(
      f'{folder}/metadata.json is damaged: prepare the dataset again, with '
      '--overwrite.'
    ) from None
  if written != records.FORMAT:
    raise UserError(
      f'{folder} is in format {written} of records, and this version reads '
      f'{records.FORMAT}: prepare the dataset again, with --overwrite.'
    )
  return metadata
