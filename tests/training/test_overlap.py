"""What the trainer waits for, and when: judged by the order of events."""

import demo
import numpy as np
import pytest

from vivit_jax import config as configs
from vivit_jax.training import loop

STEPS = 6


class Pending:
  """A step's metric [1] on a device: notes when it is waited for or read."""

  def __init__(self, what, value, number, events):
    self.what, self.value = what, value
    self.number, self.events = number, events

  def block_until_ready(self):
    self.note(f'wait {self.number}')
    return self

  def addressable_data(self, place):
    assert place == 0
    return self

  def __array__(self, dtype=None, copy=None):
    del copy
    self.note(f'read {self.what} {self.number}')
    return np.array([self.value], dtype)

  def note(self, event):
    if event not in self.events[-1:]:  # once for all metrics of a step
      self.events.append(event)


@pytest.fixture(scope='module')
def events(prepared, tmp_path_factory):
  """Trains with a slow input and a slow step, and returns what happened.

  Nothing sleeps: each notes when the loop asks it for something, which is when
  it would make the loop wait.
  """
  config = demo.config(
    prepared,
    train__epochs=(STEPS - 0.5) / demo.EPOCH,
    train__log_every=4,
    train__validate_every=0,
  )
  events = []

  def batches(*arguments, batch_size, **others):
    for number in range(1, STEPS + 1):
      events.append(f'input {number}')
      yield {
        'video': np.zeros((batch_size, 8, 40, 40, 3), np.uint8),
        'labels': {},
        'index': np.zeros(batch_size, int),
        'unreadable': np.full(batch_size, -1),
      }

  def train_step(*arguments):
    def update(state, batch):
      number = 1 + sum(event.startswith('dispatch') for event in events)
      events.append(f'dispatch {number}')
      values = {'loss': float(number), 'skipped': 0.0}
      return state, {
        name: Pending(name, value, number, events)
        for name, value in values.items()
      }

    return update

  real_report = loop.Progress.report

  def report(self, number, *arguments):
    events.append(f'report {number}')
    real_report(self, number, *arguments)

  folder = tmp_path_factory.mktemp('run')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop.experiment.pipeline, 'train_batches', batches)
    patch.setattr(loop.step, 'train_step', train_step)
    patch.setattr(loop.Progress, 'report', report)
    assert loop.train(configs.resolve(config), folder) == 0
  rows = demo.rows(folder)
  # The means of the losses 1 to 4, and 5 to 6.
  assert [(row['step'], row['train/loss']) for row in rows] == [
    (4, 2.5),
    (6, 5.5),
  ]
  return events


def test_input_and_step_overlap(events):
  """While a step computes, the next batch is made and handed over."""
  place = {event: events.index(event) for event in events}
  for number in range(1, STEPS):
    waited = place[f'wait {number}']
    assert place[f'dispatch {number}'] < place[f'input {number + 1}']
    assert place[f'dispatch {number + 1}'] < waited
    # And no batches pile up: one step is in flight, no more.
    if number + 2 <= STEPS:
      assert waited < place[f'input {number + 2}']


def test_between_two_reports_no_metric_is_read_but_the_count_of_skipped(events):
  """And that of a step that is done, when the next one has begun."""
  reads = [event for event in events if event.startswith('read loss')]
  assert reads == [f'read loss {number}' for number in range(1, STEPS + 1)]
  before = events[: events.index('read loss 1')]
  assert 'dispatch 5' in before  # four steps and the next: nothing was read
  reads = [event for event in before if event.startswith('read')]
  assert reads == [f'read skipped {number}' for number in (1, 2, 3, 4)]


def test_a_report_is_written_while_the_next_step_computes(events):
  place = {event: events.index(event) for event in events}
  assert place['dispatch 5'] < place['read loss 1'] < place['report 4']
  assert place['report 4'] < place['wait 5']
  assert place['report 6'] > place['wait 6']  # the last one
