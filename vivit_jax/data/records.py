"""Records on disk: ArrayRecord shards of chunks of frames.

A record is a *chunk*: a few consecutive frames of one video, encoded by
`storage`. So a clip reads little more than its own frames. The chunks of a
video are consecutive in one shard, and the videos are in the order of the
split's `index`. `dataset_info.json` and `features.json` make the folder a TFDS
dataset, so `tfds.data_source` can read it too.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from vivit_jax import files

FORMAT = 2  # version of the format on disk
VERSION = '1.0.0'  # of every dataset, for TFDS; names its folder
# One record per group for random access; JPEG and H.264 are compressed already.
_WRITER_OPTIONS = 'group_size:1,uncompressed'
_READER_OPTIONS = 'readahead_buffer_size:0'  # no read-ahead: random access
_READER_BUFFER = 32768  # bytes


@functools.cache
def features() -> tfds.features.FeaturesDict:
  """Returns the TFDS features of a record, which are those of `Chunk`."""
  return tfds.features.FeaturesDict(
    {
      'frames': tfds.features.Sequence(
        tfds.features.Tensor(shape=(), dtype=np.object_)
      ),
      'video': tfds.features.Text(),
      'first_frame': np.int64,
    }
  )


def serialise(video: str, first_frame: int, frames: Sequence[bytes]) -> bytes:
  """Returns a serialised record; the arguments are those of `Chunk`."""
  example = {'frames': list(frames), 'video': video, 'first_frame': first_frame}
  return features().serialize_example(features().encode_example(example))


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A parsed record."""

  frames: Sequence[bytes]  # JPEGs, or one H.264 stream
  video: str  # its id in the index
  first_frame: int  # number, from 0, of its first frame in the video


def parse(record: bytes) -> Chunk:
  """Parses a serialised record, in half the time that TFDS takes."""
  feature = tf_example_pb2.Example.FromString(record).features.feature
  return Chunk(
    frames=feature['frames'].bytes_list.value,
    video=feature['video'].bytes_list.value[0].decode(),
    first_frame=feature['first_frame'].int64_list.value[0],
  )


class RecordReader:
  """Random access to the records of a split; can be pickled.

  Takes about half the time of `tfds.data_source`, which starts Python threads
  for each read and converts to NumPy. `lengths` are the records of each shard.
  """

  def __init__(self, paths: Sequence[pathlib.Path], lengths: Sequence[int]):
    self._paths = list(paths)
    self._ends = np.cumsum(lengths)
    self._readers = {}  # by shard; opened at the first read

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {'_readers': {}}

  def __getitems__(self, indices: Sequence[int]) -> list[Chunk]:
    """Returns the records at these indices of the split, in the same order.

    Raises exceptions of several types if a record is damaged.
    """
    chunks = {}
    shards = np.searchsorted(self._ends, indices, 'right').tolist()
    for shard in set(shards):
      in_shard = [index for index, s in zip(indices, shards) if s == shard]
      start = int(self._ends[shard - 1]) if shard else 0
      read = self._reader(shard).read([index - start for index in in_shard])
      chunks |= zip(in_shard, map(parse, read), strict=True)
    return [chunks[index] for index in indices]

  def _reader(self, shard: int) -> array_record_module.ArrayRecordReader:
    if shard not in self._readers:
      self._readers[shard] = array_record_module.ArrayRecordReader(
        str(self._paths[shard]),
        _READER_OPTIONS,
        file_reader_buffer_size=_READER_BUFFER,
      )
    return self._readers[shard]


class ShardWriter:
  """Writes records to a file, and counts them in `records`."""

  def __init__(self, path: pathlib.Path):
    self._writer = array_record_module.ArrayRecordWriter(
      str(path), _WRITER_OPTIONS
    )
    self.records = 0

  def write(self, record: bytes) -> None:
    with _as_os_error():
      self._writer.write(record)
    self.records += 1

  def close(self) -> None:
    with _as_os_error():
      self._writer.close()


@contextlib.contextmanager
def open_shard(path: pathlib.Path) -> Iterator[ShardWriter]:
  """Yields a writer for a shard; its file appears only when complete."""
  with files.replacing(path) as unfinished:
    with contextlib.closing(ShardWriter(unfinished)) as writer:
      yield writer
    reader = array_record_module.ArrayRecordReader(str(unfinished))
    written = reader.num_records()
    reader.close()
    if written != writer.records:
      raise OSError(None, 'records are missing after writing (disk full?)')


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
  """Turns array_record's errors (such as a full disk) into OSErrors."""
  try:
    yield
  except (RuntimeError, ValueError) as error:
    raise OSError(None, str(error).partition(';')[0]) from None
