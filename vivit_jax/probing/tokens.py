"""Tokens of a split on disk, written once by the frozen encoder.

A folder has `key.json` (everything that the tokens depend on) and shards
`<shard>.npy`. A shard has a row for each of its consecutive clips: `video`, the
index of the video (-1: unreadable), `tokens` [N, D] in float32 or the bits of
bfloat16, and `checksum`, of both, the row's number and the key. A shard appears
only when complete: an interrupted run keeps the others.
"""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import tqdm

from vivit_jax import files, locks
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError

_SHARD_BYTES = 2**29


@dataclasses.dataclass(frozen=True)
class Tokens:
  """The tokens of a split, of which some shards may be missing.

  Attributes:
    folder: of the split's tokens.
    key: everything that they depend on, as JSON.
    videos, clips: number of videos, and of clips of each.
    shape: (N, D).
    dtype: 'float32' or 'bfloat16'.
    batch_size: clips that are encoded at once.
  """

  folder: pathlib.Path
  key: Mapping[str, Any]
  videos: int
  clips: int
  shape: tuple[int, int]
  dtype: str
  batch_size: int

  @property
  def rows(self) -> int:
    """Number of rows; clip c of video v is row v * clips + c."""
    return self.videos * self.clips

  @property
  def row_bytes(self) -> int:
    return math.prod(self.shape) * jnp.dtype(self.dtype).itemsize

  @property
  def shard_batches(self) -> int:
    return max(1, _SHARD_BYTES // (self.batch_size * self.row_bytes))

  @property
  def record(self) -> np.dtype:
    bits = np.float32 if self.dtype == 'float32' else np.uint16
    return np.dtype(
      [
        ('video', np.int64),
        ('tokens', bits, self.shape),
        ('checksum', np.uint32),
      ]
    )

  def path(self, shard: int) -> pathlib.Path:
    return self.folder / f'{shard:05d}.npy'

  def missing(self) -> dict[int, int]:
    """Returns missing and damaged shards, with the number of rows of each."""
    return {
      shard: rows
      for shard, rows in enumerate(self._shard_rows)
      if self._open(shard, rows) is None
    }

  def _open(self, shard: int, rows: int) -> int | None:
    """Returns where a shard's records begin; None if missing or damaged."""
    path = self.path(shard)
    try:
      array = np.lib.format.open_memmap(path, 'r')
      size = path.stat().st_size
    except Exception:  # a damaged header raises errors of many types
      return None
    whole = array.offset + array.nbytes == size
    same = (array.dtype, array.shape) == (self.record, (rows,))
    return array.offset if whole and same else None

  @property
  def _shard_size(self) -> int:
    return self.shard_batches * self.batch_size

  @functools.cached_property
  def _shard_rows(self) -> list[int]:
    size = self._shard_size
    return [min(size, self.rows - start) for start in range(0, self.rows, size)]

  def check_key(self) -> None:
    """Raises a UserError if the folder has tokens without or of another key."""
    path = self.folder / 'key.json'
    try:
      saved = json.loads(path.read_text('utf-8'))
    except FileNotFoundError:
      if any(self.folder.glob('*.npy')):
        raise UserError(
          f'{self.folder} has tokens, but no key.json: delete the folder.'
        ) from None
      return
    except (OSError, ValueError):
      saved = None
    if not isinstance(saved, dict):
      raise UserError(f'{path} is damaged: delete {self.folder}.')
    new = json.loads(json.dumps(self.key))
    different = [
      f'{key} is {saved.get(key)!r} there and {new.get(key)!r} now'
      for key in sorted(saved.keys() | new.keys())
      if saved.get(key) != new.get(key)
    ]
    if different:
      raise UserError(
        f'{self.folder} has tokens of other settings: {"; ".join(different)}. '
        'Delete it, or set another --config.probe.folder.'
      )

  def write(
    self,
    batches: Callable[[int], Iterator[Mapping[str, Any]]],
    encode: Callable[[Mapping[str, Any], int], Any],
  ) -> None:
    """Writes the missing shards.

    Args:
      batches: number of a batch -> the batches from there on, each with
        `index`, the videos shown, int [batch_size]; -1 if unreadable.
      encode: (batch, its number) -> tokens [batch_size, N, D].

    Raises:
      UserError: a file cannot be written, or another process writes there.
    """
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      in_use = f'another process writes tokens to {self.folder}: wait for it.'
      with locks.locked(self.folder, in_use):
        for left in self.folder.glob('.*.part'):
          left.unlink()  # of a process that was killed
        with files.replacing(self.folder / 'key.json') as unfinished:
          unfinished.write_text(json.dumps(self.key, indent=2), 'utf-8')
        self._write_missing(batches, encode)
    except OSError as error:
      raise UserError(
        f'cannot write tokens to {self.folder}: {error.strerror or error}. '
        'When this is fixed, the same command resumes.'
      ) from None

  def _write_missing(self, batches: Callable, encode: Callable) -> None:
    missing, stream, ready = self.missing(), None, None
    done = self.rows - sum(missing.values())
    hidden = not sys.stderr.isatty()
    bar = tqdm.tqdm(total=self.rows, initial=done, unit='clip', disable=hidden)
    try:
      for shard, rows in missing.items():
        path = self.path(shard)
        if path.exists():
          print(f'{path} is damaged: it is written again', flush=True)
        if ready != shard:  # the stream would give another shard's batches
          if stream is not None:
            stream.close()
          stream = batches(shard * self.shard_batches)
        self._write_shard(shard, rows, stream, encode, bar.update)
        ready = shard + 1
    finally:
      bar.close()
      if stream is not None:
        stream.close()  # ends the decoding processes

  def _write_shard(
    self, shard: int, rows: int, stream: Iterator, encode: Any, advance: Any
  ) -> None:
    with files.replacing(self.path(shard)) as unfinished:
      array = np.lib.format.open_memmap(unfinished, 'w+', self.record, (rows,))
      for start in range(0, rows, self.batch_size):
        batch, number = next(stream), start // self.batch_size
        tokens = encode(batch, shard * self.shard_batches + number)
        tokens = np.asarray(tokens.astype(self.dtype))
        part = array[start : start + self.batch_size]
        part['tokens'] = tokens[: len(part)].view(self.record['tokens'].base)
        part['video'] = batch['index'][: len(part)]
        part['checksum'] = [
          self._checksum(record, shard * self._shard_size + start + i)
          for i, record in enumerate(part)
        ]
        advance(len(part))
      array.flush()

  @functools.cached_property
  def _offsets(self) -> list[int]:
    """Where the records of each shard begin."""
    offsets = []
    for shard, rows in enumerate(self._shard_rows):
      offset = self._open(shard, rows)
      if offset is None:
        raise self._damaged(shard)
      offsets.append(offset)
    return offsets

  @functools.cached_property
  def _seed(self) -> int:
    return zlib.crc32(json.dumps(self.key, sort_keys=True).encode())

  def _checksum(self, record: np.void, row: int) -> int:
    """Returns a CRC of a row's video and tokens, its number and the key."""
    numbers = np.array([record['video'], row], np.int64)
    place = zlib.crc32(numbers, self._seed)
    return zlib.crc32(np.ascontiguousarray(record['tokens']), place)

  def _damaged(self, shard: int) -> UserError:
    """Removes a damaged shard, so that it is missing; returns the error."""
    path = self.path(shard)
    with contextlib.suppress(OSError):
      path.unlink()
    left = ': delete it, and' if path.exists() else ', and removed:'
    return UserError(f'{path} is damaged{left} the same command resumes.')

  def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens of rows, [b, N, D], and their videos, int [b].

    Raises:
      UserError: a damaged shard.
    """
    result, length = np.empty(len(rows), self.record), self.record.itemsize
    for i, row in enumerate(rows):
      shard, number = divmod(row, self._shard_size)
      offset = self._offsets[shard] + number * length
      try:  # not mapped: a file that is cut off would end the process
        [result[i]] = np.fromfile(
          self.path(shard), self.record, 1, offset=offset
        )
      except (OSError, ValueError):
        raise self._damaged(shard) from None
      if result[i]['checksum'] != self._checksum(result[i], row):
        raise self._damaged(shard)
    tokens = np.ascontiguousarray(result['tokens'])
    return tokens.view(jnp.dtype(self.dtype)), result['video']

  def training_batch(
    self,
    source: VideoSplit,
    repeats: int,
    videos_and_seeds: tuple[np.ndarray, np.ndarray],
  ) -> dict[str, Any]:
    """Returns a batch as of `pipeline.train_batches`, with stored `tokens`.

    A seed chooses one of the video's clips. Arguments: see
    `clips.training_clips`.
    """
    videos, seeds = videos_and_seeds
    videos, seeds = np.tile(videos, repeats), seeds.T.ravel()
    tokens, shown = self.read(videos * self.clips + seeds % self.clips)
    return {
      'tokens': tokens,
      'labels': source.labels_of_each(shown),
      'index': shown,
      'unreadable': np.where(shown == videos, -1, videos),
    }

  def evaluation_batches(
    self, source: VideoSplit, batch_size: int
  ) -> Iterator[dict[str, Any]]:
    """Yields batches as of `pipeline.evaluation_batches`."""
    for start in range(0, len(source), batch_size):
      rows = np.arange(start, start + batch_size)
      mask = rows < len(source)
      rows = np.where(mask, rows, 0)
      tokens, shown = self.read(rows)
      yield {
        'tokens': tokens,
        'labels': source.labels_of_each(rows),
        'index': rows,
        'mask': mask,
        'unreadable': shown < 0,
      }


def check_room(splits: Sequence[Tokens], limit: float) -> None:
  """Prints the size of all tokens, before any are written.

  Raises:
    UserError: they exceed `limit`, in GB, or the free space of the disk; or a
      folder has tokens of other settings.
  """
  for split in splits:
    split.check_key()
    count, width = split.shape
    print(
      f'{"tokens":<10} {split.folder}: {split.videos} videos x {split.clips} '
      f'clips x {count} tokens x {width} x '
      f'{jnp.dtype(split.dtype).itemsize} bytes = '
      f'{_gigabytes(split.rows * split.row_bytes)}',
      flush=True,
    )
  parents = splits[0].folder.absolute().parents
  parent = next(path for path in parents if path.exists())
  free = shutil.disk_usage(parent).free
  total = sum(split.rows * split.row_bytes for split in splits)
  left = sum(sum(s.missing().values()) * s.row_bytes for s in splits)
  reason = ''
  if total > limit * 1e9:
    reason, remedy = f'probe.max_gigabytes is {limit:g}', 'raise that key'
  if left > free:
    reason = f'{parent} has {_gigabytes(free)} free for the missing '
    reason, remedy = reason + _gigabytes(left), 'make room'
  if reason:
    raise UserError(
      f'the stored tokens take {_gigabytes(total)}, but {reason}: {remedy}, or '
      "set probe.tokens to 'encoder', or probe.average to 'frame' or 'clip'."
    )


def _gigabytes(count: float) -> str:
  return f'{count / 1e9:,.3g} GB'
