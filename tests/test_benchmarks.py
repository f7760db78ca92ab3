"""The benchmarks: their arithmetic, the forms, and tiny runs of each."""

import re
import sys
import types

import jax
import numpy as np
import pytest

from benchmarks import (
  end_to_end,
  input_pipeline,
  measure,
  probe,
  programs,
  train_step,
)
from vivit_jax import machine
from vivit_jax.errors import UserError
from vivit_jax.models import family as families

TINY = ['--size=S', '--layers=1', '--frames=4', '--crop=32', '--batch=2']


@pytest.fixture(autouse=True)
def compilation_cache():
  """Enables the cache again, which the commands disable."""
  before = jax.config.jax_enable_compilation_cache
  yield
  jax.config.update('jax_enable_compilation_cache', before)


def ratios(text):
  """Returns the ratios of a report: medians with their lowest and highest."""
  matches = re.findall(r'([\d.]+) \(([\d.]+) to ([\d.]+)\)', text)
  return [tuple(map(float, numbers)) for numbers in matches]


def tiny(*changes):
  """Returns the flags of a tiny model."""
  return measure.parse([*TINY, *changes], programs.define, '')


def test_a_ratio_is_of_the_same_round():
  text = measure.ratio([2.0, 3.0, 9.0], [4.0, 2.0, 9.0], '<= 1')
  assert ratios(text) == [(1.0, 0.5, 1.5)] and 'reached' in text
  assert 'missed' in measure.ratio([3.0], [2.0], '<= 1.4')
  assert 'missed' in measure.ratio([1.0], [1.0], '< 1')
  assert 'reached' in measure.ratio([3.0], [1.0], '>= 3')


def test_rounds_go_by_turns_and_the_warm_up_is_discarded():
  calls = []

  def run(name):
    calls.append(name)
    return len(calls)

  runs = {name: lambda name=name: run(name) for name in 'ab'}
  found = measure.by_turns(runs, 2, warm_up=True)
  assert ''.join(calls) == 'baabba'
  assert found == {'a': [3, 6], 'b': [4, 5]}


def test_steps_are_read_from_lines_of_metrics():
  lines = ['step: it needs memory', 'step 10/400  loss 1.2', 'step 20/400  x']
  assert [step for _, step in end_to_end.steps_of(lines)] == [10, 20]


@pytest.mark.parametrize(
  'commands, key',
  [
    (['--batch=0'], 'batch'),
    (['--family=jiont'], 'family'),
    (['--bacth=2'], 'bacth'),
    (['joint'], 'joint'),
  ],
)
def test_a_bad_flag_is_named(commands, key):
  with pytest.raises(UserError, match=key):
    tiny(*commands)


def test_a_list_takes_its_choices_alone():
  with pytest.raises(UserError, match='against'):
    train_step.main(['--against=ours,theirs'])


def of(family):
  """Returns the flags of a family, in size S or its default."""
  kind = families.get(family)
  size = 'S' if 'S' in kind.sizes else kind.default_size
  return f'--family={family}', f'--size={size}'


def program(name, what, *flags):
  """Returns a traced program, and the shapes of its arguments."""
  function, shapes = programs.bare(name, tiny(*flags))[1][what]
  return function, shapes, str(jax.make_jaxpr(function)(*shapes))


@pytest.mark.parametrize(
  'family', [x for x in families.every() if x not in programs.NO_PLAIN]
)
def test_the_plain_model_computes_the_same_in_flaxs_way(family):
  flags = *of(family), '--layers=2'
  ours, shapes, our_text = program('ours', 'forward', *flags)
  plain, _, text = program('plain', 'forward', *flags)
  assert 'conv_general_dilated' in text and 'conv_general' not in our_text
  draw = np.random.default_rng(0)

  def random(path, x):
    noise = draw.normal(scale=0.05, size=x.shape).astype(np.float32)
    return noise + (path[-1].key == 'scale')  # of a LayerNorm: about 1

  params = jax.tree.map_with_path(random, shapes[0])
  video = draw.normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
  expected = ours(params, video)
  assert np.std(expected) > 0.2
  np.testing.assert_allclose(plain(params, video), expected, 1e-3, 1e-4)


@pytest.mark.parametrize('form', programs.FORMS)
def test_a_form_is_another_program(form):
  """Else its ratio would compare a program to itself."""
  if form in ('attention=auto', 'attention=cudnn', 'remat=stages'):
    pytest.skip('the default, a GPU only, or of families with stages')
  what = 'views' if form == 'views=whole' else 'forward'
  # Sizes at which ours chooses otherwise.
  sizes = {'attention=plain': '--crop=368', 'views=whole': '--crop=224'}
  flags = '--family=joint', sizes.get(form, '--crop=32')
  texts = [program(name, what, *flags)[2] for name in ('ours', form)]
  assert texts[0] != texts[1]


def test_train_step_prints_the_ratio_of_each_program(capsys):
  names = ['--family=joint', '--against=ours,plain']
  train_step.main([*TINY, *names, '--rounds=2'])
  found = ratios(capsys.readouterr().out)
  assert len(found) == 2 * 3  # forms x programs
  assert found[:3] == [(1.0, 1.0, 1.0)] * 3 and min(found[3:]) > (0, 0, 0)


def test_the_largest_batch_is_on_the_line_of_two(monkeypatch, capsys):
  """A step of b clips takes 2 + 3 b GB: 16 GB hold 4, 40 GB hold 12."""
  shapes = {'step': ('step', (None,))}
  monkeypatch.setattr(
    train_step.programs, 'bare', lambda name, args: (None, shapes)
  )
  monkeypatch.setattr(train_step.parallel, 'compiled', lambda *_: (None, 14e9))
  args = types.SimpleNamespace(batch=2, against=['ours'])
  train_step._print_largest(args, 8e9)
  found = re.findall(r'batch in (\d+) GB: (\d+)', capsys.readouterr().out)
  assert dict(found) == {'16': '4', '24': '7', '40': '12', '80': '26'}


@pytest.mark.slow
def test_remat_needs_less_memory_than_the_plain_model(capsys):
  names = ['--family=joint', '--against=remat=full,plain', '--what=step']
  larger = ['--layers=4', '--crop=96', '--batch=8', '--rounds=1']
  train_step.main([*TINY, *names, *larger])
  rows = capsys.readouterr().out.splitlines()
  ours, plain = (
    float(row.strip('| ').split(' | ')[-1])
    for row in rows
    if row.startswith(('| remat=full', '| plain'))
  )
  assert 0 < ours < plain


@pytest.mark.slow
def test_train_step_prints_the_ratio_of_a_form(capsys):
  names = ['--family=joint', '--against=ours,views=whole']
  train_step.main([*TINY, *names, '--what=views', '--rounds=1'])
  assert len(ratios(capsys.readouterr().out)) == 2


def test_a_torch_that_hangs_or_fails_does_not_stop_the_others(capfd, tmp_path):
  python = tmp_path / 'python'
  for script in ('exec sleep 60', 'exit 3'):
    python.write_text(f'#!/bin/sh\n{script}\n')
    python.chmod(0o755)
    names = ['--family=joint', '--against=ours,torch', '--what=forward']
    limits = [f'--torch_python={python}', '--torch_seconds=1', '--rounds=1']
    train_step.main([*TINY, *names, *limits])
    assert ratios(capfd.readouterr().out) == [(1.0, 1.0, 1.0)]


@pytest.mark.parametrize('family', train_step._IN_TORCH)
def test_torch_is_compared_where_it_is_installed(family, capsys):
  pytest.importorskip('transformers')
  if family in programs.HIERARCHIES:
    pytest.skip("torchvision's")
  crop = ['--crop=36'] if family == 'videoprism' else []
  names = [*of(family), '--against=ours,torch', '--rounds=1']
  train_step.main([*TINY, *names, *crop])
  assert len(ratios(capsys.readouterr().out)) == 2 * 3


@pytest.mark.slow
def test_input_pipeline_prints_ratios_to_both_baselines(
  prepared, tmp_path, capsys
):
  given = [f'--data_dir={prepared}', '--dataset=moving_shapes']
  tiny = ['--videos=8', '--workers=1', '--batch_size=2', '--seconds=0.1']
  input_pipeline.main([*given, *tiny, f'--cache={tmp_path}', '--rounds=1'])
  found = ratios(capsys.readouterr().out)
  has_tensorflow = any(tmp_path.iterdir())
  expected = 6 if has_tensorflow else 2
  assert len(found) == expected if sys.platform == 'linux' else found


@pytest.mark.slow
@pytest.mark.skipif(len(machine.cores()) < 2, reason='it splits the cores')
def test_end_to_end_prints_the_ratio_of_each_case(tmp_path, capsys):
  tiny = ['--cases=input-bound', '--videos=8', '--rounds=1', '--seconds=0.5']
  end_to_end.main([f'--cache={tmp_path}', *tiny])
  found = ratios(capsys.readouterr().out)
  assert len(found) == 1 and min(found) > (0, 0, 0)


@pytest.mark.slow
def test_heads_and_stored_tokens_are_measured(capsys):
  probe.main(['--rounds=1', '--videos=32', '--steps=1'])
  report = capsys.readouterr().out
  assert len(ratios(report)) == 7  # two of each pool, and storing
  assert all(pool in report for pool in probe._POOLS)
