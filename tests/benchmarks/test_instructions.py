"""What programs move, counted by hand and in programs of XLA."""

import jax
import jax.numpy as jnp

from benchmarks import instructions

# A copy in a fusion in a loop of 5 turns, two copies and a transpose outside.
BY_HAND = """HloModule by_hand, is_scheduled=true

%fused (p: bf16[2,3]) -> bf16[2,3] {
  %p = bf16[2,3]{1,0} parameter(0)
  ROOT %copy.1 = bf16[2,3]{0,1} copy(%p), metadata={op_name="a copy(of it"}
}

%body (t: (s32[], bf16[2,3])) -> (s32[], bf16[2,3]) {
  %t = (s32[], bf16[2,3]{1,0}) parameter(0)
  %copy_fusion = bf16[2,3]{0,1} fusion(%t), kind=kLoop, calls=%fused
  ROOT %out = (s32[], bf16[2,3]{1,0}) tuple(%t, %copy_fusion)
}

%condition (t: (s32[], bf16[2,3])) -> pred[] {
  %t = (s32[], bf16[2,3]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (x: bf16[2,3], y: pred[7]) -> f32[3,2] {
  %x = bf16[2,3]{1,0} parameter(0)
  %y = pred[7]{0} parameter(1)
  %copy.2 = pred[7]{0} copy(%y)
  %zero = s32[] constant(0)
  %copy.3 = s32[] copy(%zero)
  %loop = (s32[], bf16[2,3]{1,0}) while(%copy.3), condition=%condition, \
body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %wide = f32[2,3]{1,0} convert(%x)
  ROOT %transpose.1 = f32[3,2]{0,1} transpose(%wide), dimensions={1,0}
}
"""


def test_a_program_by_hand():
  found = instructions.count(BY_HAND, 'copy', 'transpose', 'dot')
  # 5 turns x 6 elements x 2 bytes, 7 bytes and 4.
  assert found['copy'] == instructions.Moved(3, 5 * 12 + 7 + 4)
  assert found['transpose'] == instructions.Moved(1, 24)
  assert found['dot'] == instructions.Moved(0, 0)


def _compiled(function, *shapes):
  arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  text = jax.jit(function).lower(*arguments).compile().as_text()
  return instructions.count(text, 'copy', 'transpose', 'add')


def test_a_transposed_result_moves_its_bytes():
  found = _compiled(lambda x: x.T, (3, 5))
  assert found['transpose'].count == 1
  assert max(found['copy'].moved, found['transpose'].moved) == 3 * 5 * 4


def test_a_sum_moves_nothing():
  found = _compiled(lambda x, y: x + y, (3, 5), (3, 5))
  assert found['copy'].count == found['transpose'].count == 0
  assert found['add'].count == 1


def test_a_loop_counts_as_often_as_it_turns():
  def turns(number):
    def step(x):
      return jax.lax.scan(
        lambda x, _: (jnp.sin(x.T), None), x, None, length=number
      )[0]

    return _compiled(step, (64, 64))

  few, many = turns(10), turns(30)
  assert few['transpose'].count == many['transpose'].count > 0
  # What is outside of the loop is the same.
  moved = many['transpose'].moved - few['transpose'].moved
  assert moved > 0 and moved % (20 * 64 * 64 * 4) == 0
