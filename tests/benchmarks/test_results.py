"""RESULTS.md: sections in their places, and what fails told."""

import re

import pytest

from benchmarks import __main__ as command
from benchmarks import results
from benchmarks.sections import SECTIONS, Section
from vivit_jax.errors import UserError

TEXT = """# Results

Words.

## First

| a |
|---|
| 1 |

## Second

    a command

### Within it

two
"""


def test_a_section_is_replaced_in_its_place():
  text = results.with_section(TEXT, 'First', 'new\n')
  before, sections = results.split(text)
  assert before.strip() == '# Results\n\nWords.'
  assert list(sections) == ['First', 'Second']
  assert sections['First'].strip() == 'new'
  assert sections['Second'] == '\n    a command\n\n### Within it\n\ntwo\n'
  assert '| 1 |' not in text


def test_the_same_section_again_changes_nothing():
  once = results.with_section(TEXT, 'First', 'new')
  assert results.with_section(once, 'First', 'new') == once


@pytest.mark.parametrize(
  ('title', 'order', 'expected'),
  [
    ('New', ['First', 'New', 'Second'], ['First', 'New', 'Second']),
    ('New', ['New', 'First', 'Second'], ['New', 'First', 'Second']),
    ('New', ['First', 'Absent', 'New'], ['First', 'New', 'Second']),
    ('New', ['Second', 'New'], ['First', 'Second', 'New']),
    ('New', [], ['First', 'Second', 'New']),
  ],
)
def test_a_new_section_comes_in_the_order(title, order, expected):
  text = results.with_section(TEXT, title, 'words', order)
  found = results.split(text)[1]
  assert list(found) == expected
  assert found['New'].strip() == 'words'
  assert '| 1 |' in found['First'] and 'two' in found['Second']


def test_a_file_that_cannot_be_written_is_told_and_stays(tmp_path):
  path = tmp_path / 'RESULTS.md'
  path.mkdir()
  with pytest.raises(UserError, match='cannot write'):
    results.write(path, 'words')
  assert [each.name for each in tmp_path.iterdir()] == ['RESULTS.md']


def test_a_failed_command_is_told_and_the_others_run(tmp_path, monkeypatch):
  answers = {
    'one': (0, '| 1 |\n', ''),
    'broken': (2, '| half |\n', 'error: no such clip.'),
    'three': (0, '| 3 |\n', ''),
  }
  called = []

  def call(words):
    called.append(words[1:])
    return answers[words[2].removeprefix('benchmarks.')]

  monkeypatch.setattr(command, 'call', call)
  path = tmp_path / 'RESULTS.md'
  path.write_text(TEXT)
  sections = [
    Section('a', 'First', ('one --rounds=1', 'broken')),
    Section('b', 'Second', ('three',), torch=True),
  ]
  assert not command.write_all(path, sections, None, 'PATH/to/python')
  assert called == [
    ['-m', 'benchmarks.one', '--rounds=1'],
    ['-m', 'benchmarks.broken'],
    ['-m', 'benchmarks.three', '--torch_python=PATH/to/python'],
  ]
  found = results.split(path.read_text())[1]
  first, second = (
    re.sub(r'  # \d+ s$', '', found[title], flags=re.M).strip().split('\n\n')
    for title in ('First', 'Second')
  )
  assert first[1:] == [
    '    python -m benchmarks.one --rounds=1',
    '| 1 |',
    '    python -m benchmarks.broken',
    '| half |',
    '**Failed** with code 2: error: no such clip.',
  ]
  assert 'Python 3.' in first[0] and 'jax ' in first[0]
  # Where the interpreter is concerns nobody.
  assert second[1:] == [
    '    python -m benchmarks.three --torch_python=PATH',
    '| 3 |',
  ]
  assert 'No figure has been taken on a GPU' in found['On a GPU']
  assert [each.name for each in tmp_path.iterdir()] == ['RESULTS.md']


def test_figures_of_a_gpu_stay_where_there_is_none(tmp_path):
  text = results.with_section(TEXT, 'On a GPU', 'figures')
  assert command.with_gpu_told(text, []) == text


def test_a_command_is_run_and_its_last_words_are_kept(capfd):
  script = (
    'import sys; print("out"); print("one", file=sys.stderr); '
    'print("two\\n", file=sys.stderr); sys.exit(3)'
  )
  found = command.call([command.sys.executable, '-c', script])
  assert found == (3, 'out\n', 'two')
  assert capfd.readouterr() == ('', 'one\ntwo\n\n')


def test_a_machine_has_its_set_and_only_narrows_it():
  names = [section.name for section in command.chosen(None, gpu=False)]
  assert 'memory' in names and 'gpu' not in names
  assert [section.name for section in command.chosen(None, True)] == ['gpu']
  narrowed = command.chosen(['compile_time', 'memory'], gpu=False)
  assert [section.name for section in narrowed] == ['memory', 'compile_time']
  assert len({section.title for section in SECTIONS}) == len(SECTIONS)
