"""The benchmarks: their arithmetic, the plain form, and tiny runs of each."""

import argparse
import re
import sys

import jax
import jax.extend
import numpy as np
import pytest

from benchmarks import (
  end_to_end,
  input_pipeline,
  measure,
  memory,
  programs,
  train_step,
)

TINY = ['--size=S', '--layers=1', '--frames=4', '--crop=32', '--batch=2']


def ratios(text):
  """Returns the ratios of a report: medians with their lowest and highest."""
  found = re.findall(r'([\d.]+) \(([\d.]+) to ([\d.]+)\)', text)
  return [tuple(map(float, numbers)) for numbers in found]


def flags(*changes):
  parser = argparse.ArgumentParser()
  train_step.define(parser)
  return parser.parse_args([*TINY, *changes])


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


def test_the_largest_batch_is_a_power_of_two_on_the_line():
  # 10 at first, then 2 a clip: 13 of 4 clips, 21 of 8, 37 of 16, 69 of 32.
  sizes = {1: 10.0, 8: 21.0, 16: 37.0}
  limits = (9.9, 10, 12.9, 13, 20.9, 21, 37, 68.9, 69)
  batches = (0, 2, 2, 4, 4, 8, 16, 16, 32)
  for limit, batch in zip(limits, batches, strict=True):
    assert memory.largest_batch(sizes, limit) == batch


def test_steps_are_read_from_lines_of_metrics():
  lines = ['step: it needs memory', 'step 10/400  loss 1.2', 'step 20/400  x']
  assert [step for _, step in end_to_end.steps_of(lines)] == [10, 20]


@pytest.mark.parametrize('family', train_step.CONFIGS)
def test_the_plain_form_is_the_same_model(family):
  """What the benchmarks compare with computes what ours does."""
  args = flags(f'--family={family}', '--layers=2')
  initialise, ours = programs.bare('ours', args)
  _, plain = programs.bare('plain', args)
  draw = np.random.default_rng(0)

  def random(path, x):
    noise = draw.normal(scale=0.05, size=x.shape).astype(np.float32)
    return noise + (path[-1].key == 'scale')  # of a LayerNorm: about 1

  shapes = jax.eval_shape(initialise, jax.random.key(0))[0]
  params = jax.tree.map_with_path(random, shapes)
  video = draw.normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
  expected = ours['forward'][0](params, video)
  found = plain['forward'][0](params, video)
  assert np.std(expected) > 0.2
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('family', train_step.CONFIGS)
def test_the_plain_form_computes_in_the_precision_asked_for(family):
  """All its products but the head's, which is in float32 as ours."""
  args = flags(f'--family={family}', '--dtype=bfloat16')
  function, shapes = programs.bare('plain', args)[1]['forward']
  products = [
    {str(x.aval.dtype) for x in equation.invars}
    for equation in _equations(jax.make_jaxpr(function)(*shapes).jaxpr)
    if equation.primitive.name in ('dot_general', 'conv_general_dilated')
  ]
  *inner, head = products
  assert head == {'float32'} and inner == [{'bfloat16'}] * len(inner)
  assert len(inner) > 6


def _equations(jaxpr):
  """Yields the equations of a program and of the programs that it calls."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from _equations(inner)


def test_train_step_prints_the_ratio_of_each_program(capsys):
  train_step.main([*TINY, '--rounds=2', '--against', 'ours', 'plain'])
  found = ratios(capsys.readouterr().out)
  assert len(found) == 2 * 3  # forms x programs
  assert found[:3] == [(1.0, 1.0, 1.0)] * 3 and min(found[3:]) > (0, 0, 0)


def test_torch_is_compared_where_it_is_installed(capsys):
  pytest.importorskip('transformers')
  names = ['--family=joint', '--against', 'ours', 'torch']
  train_step.main([*TINY, *names, '--rounds=1'])
  assert len(ratios(capsys.readouterr().out)) == 2 * 3


@pytest.mark.slow
def test_a_frozen_step_needs_less(capsys):
  train_step.main([*TINY, '--frozen', '--rounds=2'])
  (_, memory_ratio) = ratios(capsys.readouterr().out)
  assert memory_ratio[0] < 0.5


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


def test_memory_with_remat_is_less_than_of_the_plain_form(capsys):
  tiny = ['--layers=4', '--crop=96', '--batch=8']
  memory.main(['--tables', 'plain', '--families', 'joint', *TINY, *tiny])
  temporary, _ = ratios(capsys.readouterr().out)
  assert 0 < temporary[0] < 1


@pytest.mark.slow
def test_memory_prints_ratios_of_compile_times(capsys):
  sizes = ['--size=Ti', '--larger=S']
  memory.main([*TINY, *sizes, '--tables', 'compile', '--rounds=1'])
  assert len(ratios(capsys.readouterr().out)) == 2


@pytest.mark.slow
@pytest.mark.skipif(len(measure.cores()) < 2, reason='it splits the cores')
def test_end_to_end_prints_the_ratio_of_each_case(tmp_path, capsys):
  tiny = ['--cases', 'input-bound', '--videos=8', '--rounds=1', '--seconds=0.5']
  end_to_end.main([f'--cache={tmp_path}', *tiny])
  found = ratios(capsys.readouterr().out)
  assert len(found) == 1 and min(found) > (0, 0, 0)
