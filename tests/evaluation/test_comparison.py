"""Two evaluations compared, against counts made by hand."""

import dataclasses

import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import comparison, metrics
from vivit_jax.evaluation.predictions import Table

NAMES = {'verb': ['open', 'close'], 'noun': ['a', 'b', 'c']}
VERBS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
NOUNS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def table(verbs, nouns=NOUNS, **changes) -> Table:
  """Returns an evaluation of which these are the first guesses."""
  logits = {
    'verb': 4.0 * np.eye(2)[verbs][:, None],
    'noun': 4.0 * np.eye(3)[nouns][:, None],
  }
  made = Table(
    ids=list('stuvwxyz'),
    logits={head: x.astype(np.float32) for head, x in logits.items()},
    labels={'verb': VERBS, 'noun': NOUNS},
    class_names=NAMES,
    protocol={'average': 'logits', 'temporal_views': 4, 'digest': '1'},
  )
  return dataclasses.replace(made, **changes)


# A has s to x right, B all but s: A alone s, B alone y and z.
A = table([0, 0, 0, 0, 1, 1, 0, 0])
B = table([1, 0, 0, 0, 1, 1, 1, 1], protocol={**A.protocol, 'digest': '2'})


def row(found, score):
  (one,) = (row for row in found.rows if row.score == score)
  return one


def test_a_comparison_by_hand():
  found = comparison.compare(A, B)
  assert found.examples == 8 and found.notes == []
  verb = row(found, 'verb/top1')
  assert (verb.first, verb.second, verb.difference) == (0.75, 0.875, 0.125)
  assert (verb.only_first, verb.only_second) == (1, 2)
  assert verb.p == 1.0  # of 3 that differ, 1 to 2 is the likeliest result
  low, high = verb.interval
  assert low < 0 < 0.125 < high and verb.better == ''
  assert row(found, 'joint/top1') == dataclasses.replace(
    verb, score='joint/top1'
  )  # all nouns are right
  mean = row(found, 'top1')
  assert (mean.first, mean.second, mean.p) == (0.875, 0.9375, None)
  # A: open 4 of 4, close 2 of 4; B: 3 of 4 and 4 of 4.
  classes = row(found, 'verb/mean_class_accuracy')
  assert (classes.first, classes.second) == (0.75, 0.875)
  assert [dataclasses.astuple(each) for each in found.classes['verb']] == [
    ('close', 4, 2, 4),
    ('open', 4, 4, 3),
  ]
  assert row(found, 'noun/top1').interval == (0.0, 0.0)
  sure = np.exp(4) / (np.exp(4) + 1)
  error = row(found, 'verb/calibration_error')
  assert error.first == pytest.approx(abs(0.75 - sure))
  assert error.second == pytest.approx(abs(0.875 - sure))


def test_what_is_better():
  sure = comparison.Row('a/top1', 0.5, 0.6, (0.05, 0.15))
  assert sure.better == 'B'
  assert dataclasses.replace(sure, interval=(-0.2, -0.1)).better == 'A'
  assert dataclasses.replace(sure, interval=(0.0, 0.1)).better == ''
  counted = dataclasses.replace(sure, only_first=10, only_second=30, p=0.002)
  assert counted.better == 'B'
  assert dataclasses.replace(counted, p=0.05).better == ''
  error = dataclasses.replace(sure, score='a/calibration_error')
  assert error.better == 'A'  # the lower, the better


def part(made: Table, rows: np.ndarray) -> Table:
  return dataclasses.replace(
    made,
    ids=[made.ids[row] for row in rows],
    logits={head: x[rows] for head, x in made.logits.items()},
    labels={head: x[rows] for head, x in made.labels.items()},
  )


def test_examples_are_matched_by_name_not_by_place():
  shuffled = part(B, np.array([7, 2, 0, 5, 1, 6, 4, 3]))
  assert comparison.compare(A, shuffled) == comparison.compare(A, B)


def test_other_examples():
  fewer = part(B, np.arange(2, 8))
  with pytest.raises(UserError, match='--common'):
    comparison.compare(A, fewer)
  found = comparison.compare(A, fewer, common=True)
  assert found.examples == 6 and len(found.notes) == 1
  assert row(found, 'verb/top1').only_first == 0
  with pytest.raises(UserError, match='example'):
    comparison.compare(part(A, np.arange(2)), fewer, common=True)
  twice = dataclasses.replace(B, ids=['s', *B.ids[:-1]])
  with pytest.raises(UserError, match='B .*1 example'):
    comparison.compare(A, twice)


@pytest.mark.parametrize(
  ('change', 'named'),
  [
    ({'labels': {'verb': VERBS, 'noun': np.minimum(NOUNS, 1)}}, "noun.*'u'"),
    ({'class_names': {**NAMES, 'verb': ['open', 'shut']}}, "verb.*'shut'"),
  ],
)
def test_other_labels_and_names(change, named):
  with pytest.raises(UserError, match=named):
    comparison.compare(A, dataclasses.replace(B, **change))


def test_heads():
  found = comparison.compare(A, B, heads=['noun'])
  assert [row.score for row in found.rows] == [
    *('noun/top1', 'noun/top5'),
    *('noun/mean_class_accuracy', 'noun/calibration_error'),
  ]
  (note,) = found.notes
  assert 'verb' in note
  with pytest.raises(UserError, match="'nun'.*noun"):
    comparison.compare(A, B, heads=['nun'])


def test_other_protocols_are_noted():
  changed = {'temporal_views': 1, 'crop': [8, 8], 'digest': '1', 'step': 9}
  other = dataclasses.replace(B, protocol={**A.protocol, **changed})
  (protocols,) = comparison.compare(A, other).notes
  assert 'temporal_views 4 and 1' in protocols and '[8, 8]' in protocols
  assert 'step' not in protocols


def test_what_is_averaged_can_be_chosen():
  """The mean logits are (2.7, 3); of class 0 the mean probability is 0.66."""
  views = np.array([[0, 9.0], [4, 0], [4.1, 0]])
  one = Table(
    ids=['x'],
    logits={'label': views[None].astype(np.float32)},
    labels={'label': np.array([0])},
    class_names={'label': ['a', 'b']},
    protocol={'average': 'logits'},
  )
  other = dataclasses.replace(one, protocol={'average': 'probabilities'})
  found = comparison.compare(one, other)
  assert (found.rows[0].first, found.rows[0].second) == (0.0, 1.0)
  (note,) = found.notes
  assert 'average logits and probabilities' in note
  both = comparison.compare(one, other, average='probabilities')
  assert (both.rows[0].first, both.rows[0].second) == (1.0, 1.0)
  assert both.notes == []


def test_several_labels():
  labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
  first = np.array([[2, 1], [3, 0], [1, 2], [0, 3]], np.float32)
  second = np.array([[0, 1], [3, 2], [1, 2], [2, 0]], np.float32)
  tables = [
    Table(list('abcd'), {'t': x[:, None]}, {'t': labels}, {'t': ['p', 'q']}, {})
    for x in (first, second)
  ]
  found = comparison.compare(*tables)
  # Class p: A ranks b a c d, and B b d c a, of which a and b are right.
  # Class q: A ranks d c a b, and B b c a d, of which b and c are right.
  mean = row(found, 't/mAP')
  assert mean.first == pytest.approx((1 + (1 / 2 + 2 / 4) / 2) / 2)
  assert mean.second == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
  by_name = {each.name: each for each in found.classes['t']}
  assert by_name['q'].difference == pytest.approx(0.5)
  assert by_name['p'].difference == pytest.approx(-0.25)
  assert [each.name for each in found.classes['t']] == ['q', 'p']


def test_scores_are_those_of_one_evaluation():
  rng = np.random.default_rng(0)
  made = [
    dataclasses.replace(
      A,
      logits={
        head: rng.normal(size=x.shape).astype(np.float32)
        for head, x in A.logits.items()
      },
    )
    for _ in range(2)
  ]
  found = comparison.compare(*made)
  for place, table in enumerate(made):
    expected = metrics.scores(table.averaged(), table.labels)
    rows = {row.score: (row.first, row.second)[place] for row in found.rows}
    assert expected == {score: pytest.approx(rows[score]) for score in expected}
