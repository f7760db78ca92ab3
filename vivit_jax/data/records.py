"""The format on disk: shards of records, and beside them each split's index.

A record is a *chunk*: a few consecutive frames of one video, stored as
`storage` says, so that a clip reads little more than its own frames. Chunks of
a video follow each other in one ArrayRecord shard, and videos follow each other
as in the index, `<split>.index.json`; with `dataset_info.json` and
`features.json` the folder is a TFDS dataset that `tfds.data_source` reads too.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from vivit_jax import files
from vivit_jax.errors import UserError

FORMAT = 2  # counts up when what is written here changes
# One record a group for random access; JPEG and H.264 do not compress further.
_WRITER_OPTIONS = 'group_size:1,uncompressed'
# Nothing is read ahead of random access.
_READER_OPTIONS = 'readahead_buffer_size:0'
_READER_BUFFER = 32768  # bytes


@functools.cache
def features() -> tfds.features.FeaturesDict:
  """Returns the features of a record.

  `frames`: JPEGs, or one stream of H.264; `video`: the id in the index;
  `first_frame`: the number in the video of the first of the frames.
  """
  return tfds.features.FeaturesDict(
    {
      'frames': tfds.features.Sequence(
        tfds.features.Tensor(shape=(), dtype=np.object_)
      ),
      'video': tfds.features.Text(),
      'first_frame': np.int64,
    }
  )


def chunks_of(frame_counts: np.ndarray, chunk_frames: int) -> np.ndarray:
  """Returns how many records hold each video, int64 [n]."""
  return -(-np.asarray(frame_counts, np.int64) // chunk_frames)


def serialise(video: str, first_frame: int, held: Sequence[bytes]) -> bytes:
  """Returns a record of a chunk, whose frames `held` has."""
  example = {'frames': list(held), 'video': video, 'first_frame': first_frame}
  return features().serialize_example(features().encode_example(example))


@dataclasses.dataclass(frozen=True)
class Chunk:
  """What a record holds; the attributes are those of `features`."""

  frames: Sequence[bytes]
  video: str
  first_frame: int


def parse(record: bytes) -> Chunk:
  """Parses a serialised record, as TFDS does in twice the time.

  Raises:
    Exception: of several kinds, where the record is none.
  """
  feature = tf_example_pb2.Example.FromString(record).features.feature
  return Chunk(
    frames=feature['frames'].bytes_list.value,
    video=feature['video'].bytes_list.value[0].decode(),
    first_frame=feature['first_frame'].int64_list.value[0],
  )


class Source:
  """Random access to the records of a split; can be pickled.

  It does what `tfds.data_source` does, without its Python threads for each
  read and its conversions to NumPy, in about half the time.
  """

  def __init__(self, paths: Sequence[pathlib.Path], lengths: Sequence[int]):
    """Takes the files of a split's shards, and how many records each has."""
    self._paths = list(paths)
    self._ends = np.cumsum(lengths)
    self._readers = {}  # of shards, by number, once they are read

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | {'_readers': {}}

  def __getitems__(self, places: Sequence[int]) -> list[Chunk]:
    """Returns records by their places in the split, in the order asked for.

    Raises:
      Exception: of several kinds, where a record is damaged.
    """
    found = {}
    shards = np.searchsorted(self._ends, places, 'right').tolist()
    for shard in set(shards):
      mine = [place for place, s in zip(places, shards) if s == shard]
      start = int(self._ends[shard - 1]) if shard else 0
      read = self._reader(shard).read([place - start for place in mine])
      found |= zip(mine, map(parse, read), strict=True)
    return [found[place] for place in places]

  def _reader(self, shard: int) -> array_record_module.ArrayRecordReader:
    if shard not in self._readers:
      self._readers[shard] = array_record_module.ArrayRecordReader(
        str(self._paths[shard]),
        _READER_OPTIONS,
        file_reader_buffer_size=_READER_BUFFER,
      )
    return self._readers[shard]


def shard_name(dataset: str, split: str, shard: int, shards: int) -> str:
  """Returns the name that TFDS gives the file of a shard."""
  return f'{dataset}-{split}.array_record-{shard:05d}-of-{shards:05d}'


@contextlib.contextmanager
def open_shard(path: pathlib.Path) -> Iterator['ShardWriter']:
  """Gives a writer of a shard's file, which appears whole or not at all."""
  with files.replacing(path) as unfinished:
    with contextlib.closing(ShardWriter(unfinished)) as writer:
      yield writer
    writer.check()


class ShardWriter:
  """Writes records to one file.

  Attributes:
    records: how many it has written.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
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

  def check(self) -> None:
    """Raises an OSError where the closed file does not hold all records."""
    reader = array_record_module.ArrayRecordReader(str(self._path))
    written = reader.num_records()
    reader.close()
    if written != self.records:
      raise OSError(None, 'records were lost on writing (is the disk full?)')


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
  """Turns array_record's errors, of a full disk for one, into OSErrors."""
  try:
    yield
  except (RuntimeError, ValueError) as error:
    raise OSError(None, str(error).partition(';')[0]) from None


@dataclasses.dataclass(frozen=True)
class Index:
  """The videos of a split, in the order of their records.

  Attributes:
    shard_lengths: records of each shard.
    ids: of each video, unique.
    paths: of each video's file, in the folder that it came from.
    frame_counts: of each video.
    rates: frames a second of each video; None where it is not known.
    labels: of each head, the index of each video's label; of a multi-label
      head, the indices of each video's labels.
  """

  shard_lengths: Sequence[int]
  ids: Sequence[str]
  paths: Sequence[str]
  frame_counts: Sequence[int]
  rates: Sequence[float | None]
  labels: Mapping[str, Sequence[Any]]


def index_path(folder: pathlib.Path, split: str) -> pathlib.Path:
  return folder / f'{split}.index.json'


def write_index(folder: pathlib.Path, split: str, index: Index) -> None:
  """Writes a split's index into the folder of a dataset."""
  text = json.dumps(dataclasses.asdict(index), ensure_ascii=False)
  index_path(folder, split).write_text(text, 'utf-8')


def read_index(folder: pathlib.Path, split: str) -> Index:
  """Reads a split's index.

  Raises:
    UserError: it is damaged.
  """
  path = index_path(folder, split)
  try:
    index = Index(**json.loads(path.read_text('utf-8')))
  except (OSError, ValueError, TypeError):
    index = None
  whole = index is not None and (
    all(
      len(column) == len(index.ids)
      for column in (
        index.paths,
        index.frame_counts,
        index.rates,
        *index.labels.values(),
      )
    )
  )
  if not whole:
    raise UserError(
      f'{path} is damaged: prepare the dataset again, with --overwrite.'
    )
  return index
