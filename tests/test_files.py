"""Files are whole or absent, whatever happens while they are written."""

import pytest

from vivit_jax import files


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_the_name_is_taken_at_the_end(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text('old')
  with files.replacing(path) as unfinished:
    unfinished.write_text('new')
    assert path.read_text() == 'old'
    # What tidies a folder up finds it by this.
    assert list(tmp_path.glob('*.part')) == [unfinished]
  assert path.read_text() == 'new' and names(tmp_path) == ['a.json']


def test_after_an_error_all_is_as_it_was(tmp_path):
  for there in ('a.json', 'b.json'):
    (tmp_path / 'a.json').write_text('old')
    with pytest.raises(KeyboardInterrupt):
      with files.replacing(tmp_path / there) as unfinished:
        unfinished.write_text('ne')
        raise KeyboardInterrupt
    assert names(tmp_path) == ['a.json']
    assert (tmp_path / 'a.json').read_text() == 'old'


def test_a_name_that_cannot_be_taken_leaves_nothing_behind(tmp_path):
  (tmp_path / 'a' / 'b').mkdir(parents=True)
  with pytest.raises(OSError):
    with files.replacing(tmp_path / 'a') as unfinished:
      unfinished.write_text('a folder is there')
  assert names(tmp_path) == ['a'] and names(tmp_path / 'a') == ['b']
