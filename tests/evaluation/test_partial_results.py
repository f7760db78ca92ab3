"""Finished batches: read by the same evaluation alone, damage deleted."""

import numpy as np
import pytest

from vivit_jax.evaluation.output_dir import UnwritableOutput
from vivit_jax.evaluation.partial_results import PartialResults
from vivit_jax.evaluation.predictions import Predictions

EMPTY = Predictions(
  {'a': np.zeros((0, 2, 3), np.float32)},
  {'a': np.zeros(0, np.int32)},
  np.zeros(0, np.int64),
)


def batch(*places):
  index = np.array(places, np.int64)
  logits = np.arange(6.0).reshape(2, 3) + index[:, None, None]
  return Predictions(
    {'a': logits.astype(np.float32)}, {'a': (index % 3).astype(np.int32)}, index
  )


def partial(out, **key):
  return PartialResults(out, {'digest': 'x', **key}, EMPTY)


def test_what_is_added_is_read_once(tmp_path):
  kept = partial(tmp_path)
  assert kept.read().index.tolist() == []
  for rows in (batch(4, 1), batch(), batch(7, 4)):
    kept.add(rows)
  found = partial(tmp_path).read()
  assert found.index.tolist() == [1, 4, 7]
  for i, place in enumerate(found.index):
    expected = batch(place)
    np.testing.assert_array_equal(found.logits['a'][i], expected.logits['a'][0])
    assert found.labels['a'][i] == expected.labels['a'][0]
  kept.remove()
  assert not list(tmp_path.iterdir())


def test_other_settings_do_not_read_them(tmp_path):
  partial(tmp_path).add(batch(1))
  other = partial(tmp_path, crop=8)
  assert other.read().index.tolist() == []
  assert other.stale() == list(tmp_path.iterdir())
  # Nor do they delete them: their own evaluation resumes from them.
  other.add(batch(2))
  other.remove()
  first = partial(tmp_path)
  assert first.stale() == [] and first.read().index.tolist() == [1]


def test_damaged_files_are_deleted(tmp_path):
  kept = partial(tmp_path)
  for place in range(5):
    kept.add(batch(place))
  (folder,) = tmp_path.iterdir()
  files = sorted(folder.iterdir())
  whole = files[0].read_bytes()
  files[0].write_bytes(whole[:-40])
  files[1].write_bytes(b'')
  middle = len(whole) // 2
  files[2].write_bytes(whole[:32] + b'????' + whole[36:])
  files[3].write_bytes(whole[:middle] + b'????' + whole[middle + 4 :])
  (folder / '.x.npz.99.part').write_bytes(whole[:50])
  found = kept.read()
  assert len(found.index) == 1
  assert sorted(folder.glob('*.npz')) == files[4:]


def test_a_batch_that_cannot_be_written(tmp_path):
  with pytest.raises(UnwritableOutput, match='gone'):
    partial(tmp_path / 'gone').add(batch(1))
