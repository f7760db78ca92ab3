"""Pictures of moving_shapes: a textured shape that moves and returns.

The courses of the two verbs of a pair are one loop, begun half a loop apart.
"""

import dataclasses

import cv2
import numpy as np

from vivit_jax.errors import UserError

VERBS = (
  'left_then_right',
  'right_then_left',
  'up_then_down',
  'down_then_up',
  'grow_then_shrink',
  'shrink_then_grow',
  'clockwise_then_counterclockwise',
  'counterclockwise_then_clockwise',
)
_OVERSAMPLING = 4  # the shape's outline is drawn at this many times the pixels


@dataclasses.dataclass(frozen=True)
class Scene:
  """How rich, and how hard, the videos are.

  Attributes:
    pixels: height and width of a video, even (H.264 halves the colours).
    frames: of a video, a little more than the loop.
    loop: frames after which the motions begin anew: a clip that reaches over
      so many sees each moment of them once, wherever it begins.
    contrast: least distance in colour of the shape, the brighter one, from
      the background, in [0, 1] of the greatest possible one; lower is harder.
    clutter: blobs in the background, at most; higher is harder.
    texture: greatest amplitude of the textures of shape and background, on the
      scale of 255; higher is harder.
    tilt: greatest angle at which a shape stands, in radians; higher is harder.
    noise: standard deviation of each frame's own noise, on the scale of 255.
  """

  pixels: int = 48
  frames: int = 18
  loop: int = 16
  contrast: float = 0.3
  clutter: int = 4
  texture: float = 30.0
  tilt: float = 0.4
  noise: float = 4.0

  def __post_init__(self):
    """Raises a UserError for values that no scene can have."""
    for name, low, high in (
      ('pixels', 16, 4096),
      ('frames', 1, 10_000),
      ('loop', 2, 10_000),
      ('contrast', 0.0, 0.8),
      ('clutter', 0, 1000),
      ('texture', 0.0, 255.0),
      ('tilt', 0.0, 3.2),
      ('noise', 0.0, 255.0),
    ):
      value = getattr(self, name)
      if not low <= value <= high:
        raise UserError(f'{name} is {value}; it is from {low} to {high}.')
    if self.pixels % 2:
      raise UserError(f'pixels is {self.pixels}; it is even.')


def _ring(angles: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
  """Returns points of polar coordinates, float [points, 2] as x, y."""
  return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)


def _corners(count: int) -> np.ndarray:
  """Returns the angles of a regular polygon's corners, the first one up."""
  return 2 * np.pi * np.arange(count) / count - np.pi / 2


def _cross() -> np.ndarray:
  a, b = 0.3, 0.95
  corner = np.array([[a, b], [a, a], [b, a]])
  quadrants = [[1, 1], [1, -1], [-1, -1], [-1, 1]]
  arms = [corner, corner[::-1], corner, corner[::-1]]
  return np.concatenate([arm * sign for arm, sign in zip(arms, quadrants)])


def _heart() -> np.ndarray:
  s = np.linspace(0, 2 * np.pi, 48, endpoint=False)
  x = 16 * np.sin(s) ** 3
  y = 13 * np.cos(s) - 5 * np.cos(2 * s) - 2 * np.cos(3 * s) - np.cos(4 * s)
  return np.stack([x, -y - 2], axis=-1) / 16


def _crescent() -> np.ndarray:
  s = np.linspace(np.pi / 3, 5 * np.pi / 3, 32)
  return np.concatenate([_ring(s, 1.0), _ring(s[::-1], 0.75) + [0.45, 0.0]])


def _arrow() -> np.ndarray:
  half = [[0.0, -1.0], [0.8, -0.1], [0.3, -0.1], [0.3, 0.95]]
  return np.array(half + [[-x, y] for x, y in half[:0:-1]])


# Outlines, float [points, 2] as x, y in the unit disc.
_OUTLINES = {
  'arrow': _arrow(),
  'circle': _ring(_corners(48), 0.85),
  'crescent': _crescent(),
  'cross': _cross(),
  'heart': _heart(),
  'square': _ring(_corners(4), 1.0),
  'star': _ring(_corners(10), np.where(np.arange(10) % 2 == 0, 1.0, 0.4)),
  'triangle': _ring(_corners(3), 1.0),
}
NOUNS = tuple(_OUTLINES)
for _points in _OUTLINES.values():
  _points /= max(1.0, np.linalg.norm(_points, axis=1).max())


def there_and_back(
  frames: int, loop: int, begun: float, turning: float
) -> np.ndarray:
  """Returns a course in [0, 1] that goes 0 -> 1 -> 0 again and again.

  Args:
    frames: of the video.
    loop: frames of a whole 0 -> 1 -> 0.
    begun: frames by which the first loop has begun before the video.
    turning: frames of the part 0 -> 1.

  Returns:
    float [frames].
  """
  phase = (np.arange(frames) + begun) % loop
  return np.where(
    phase < turning, phase / turning, (loop - phase) / (loop - turning)
  )


@dataclasses.dataclass(frozen=True)
class _Course:
  """Where a shape is in each frame: each float [frames]."""

  x: np.ndarray
  y: np.ndarray
  radius: np.ndarray
  angle: np.ndarray


def _course(verb: str, scene: Scene, rng: np.random.Generator) -> _Course:
  """Draws the course of a verb; start, extent and turning point are random."""
  pair, second = divmod(VERBS.index(verb), 2)
  # The two verbs of a pair are the same loop, begun a half loop apart: for
  # that, `begun` and `early` have the same distribution.
  begun, early = rng.uniform(0, 3 / 16, 2) * scene.loop
  turning = begun + scene.loop / 2 - early
  course = there_and_back(scene.frames, scene.loop, begun, turning)
  if second:
    course = 1 - course
  radius = scene.pixels * rng.uniform(0.17, 0.24)
  angle = rng.uniform(-scene.tilt, scene.tilt)
  still = np.zeros(scene.frames)
  grown = radius
  shift = still
  if pair in (0, 1):
    shift = -(course - 0.5) * scene.pixels * rng.uniform(0.22, 0.36)
  radii, angles = still + radius, still + angle
  if pair == 2:
    grown = scene.pixels * rng.uniform(0.28, 0.36)
    small = scene.pixels * rng.uniform(0.13, 0.18)
    radii = small + course * (grown - small)
  if pair == 3:
    angles = angle + (course - 0.5) * rng.uniform(1.0, 1.6)
  margin = {
    axis: grown + 1.5 + np.abs(shift).max() * (pair == index)
    for index, axis in enumerate('xy')
  }
  place = {
    axis: rng.uniform(low, scene.pixels - low)
    if 2 * low < scene.pixels
    else scene.pixels / 2
    for axis, low in margin.items()
  }
  return _Course(
    x=place['x'] + (shift if pair == 0 else still),
    y=place['y'] + (shift if pair == 1 else still),
    radius=radii,
    angle=angles,
  )


def _outline(noun: str, course: _Course, frame: int) -> np.ndarray:
  """Returns a shape's outline in a frame, float [points, 2] as x, y."""
  cos, sin = np.cos(course.angle[frame]), np.sin(course.angle[frame])
  turned = _OUTLINES[noun] @ np.array([[cos, sin], [-sin, cos]])
  return turned * course.radius[frame] + [course.x[frame], course.y[frame]]


def _smooth_noise(
  pixels: int, cells: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns a smooth random texture in [-1, 1], float32 [pixels, pixels, 1]."""
  coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
  return cv2.resize(
    coarse, (pixels, pixels), interpolation=cv2.INTER_CUBIC
  ).clip(-1, 1)[..., None]


def _background(
  scene: Scene, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Returns a textured, cluttered background, float32 [pixels, pixels, 3]."""
  image = np.broadcast_to(colour, (scene.pixels, scene.pixels, 3)).copy()
  for _ in range(rng.integers(0, scene.clutter + 1)):
    blob = np.zeros((scene.pixels, scene.pixels), np.float32)
    centre = rng.integers(0, scene.pixels, 2).tolist()
    cv2.circle(blob, centre, int(rng.integers(2, 7)), 1.0, -1)
    tint = rng.uniform(-50, 50, 3).astype(np.float32)
    image += cv2.GaussianBlur(blob, (0, 0), 1.0)[..., None] * tint
  cells = int(rng.integers(3, 10))
  image += _smooth_noise(scene.pixels, cells, rng) * rng.uniform(
    scene.texture / 4, scene.texture
  )
  return image.astype(np.float32)


def _colours(
  scene: Scene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Draws colours of shape and background that differ by the contrast."""
  least = scene.contrast * np.sqrt(3) * 255
  while True:
    background = rng.uniform(10, 130, 3).astype(np.float32)
    shape = rng.uniform(110, 245, 3).astype(np.float32)
    if np.linalg.norm(shape - background) >= least:
      return shape, background


def render(
  verb: str, noun: str, scene: Scene, rng: np.random.Generator
) -> np.ndarray:
  """Returns one video, uint8 [frames, pixels, pixels, 3], RGB."""
  colour, background_colour = _colours(scene, rng)
  background = _background(scene, background_colour, rng)
  course = _course(verb, scene, rng)
  texture_scale = rng.uniform(scene.texture / 4, scene.texture)
  stripes = rng.uniform(2.0, 5.0)
  phase = rng.uniform(0, 2 * np.pi)
  rows, columns = np.mgrid[: scene.pixels, : scene.pixels].astype(np.float32)
  video = np.empty((scene.frames, scene.pixels, scene.pixels, 3), np.uint8)
  big = scene.pixels * _OVERSAMPLING
  for frame in range(scene.frames):
    x, y = course.x[frame], course.y[frame]
    radius, angle = course.radius[frame], course.angle[frame]
    cos, sin = np.cos(angle), np.sin(angle)
    turned = _outline(noun, course, frame)
    mask = np.zeros((big, big), np.uint8)
    corners = np.round(turned * _OVERSAMPLING).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255)
    cover = cv2.resize(
      mask, (scene.pixels, scene.pixels), interpolation=cv2.INTER_AREA
    )
    along = ((columns - x) * cos + (rows - y) * sin) / radius
    texture = texture_scale * np.sin(stripes * along + phase)[..., None]
    alpha = cover[..., None].astype(np.float32) / 255
    image = background * (1 - alpha) + (colour + texture) * alpha
    image += rng.normal(0, scene.noise, image.shape)
    video[frame] = np.clip(np.round(image), 0, 255)
  return video


def boxes(
  verb: str, noun: str, scene: Scene, rng: np.random.Generator
) -> np.ndarray:
  """Returns where the shape is, in the video that `render` makes of the same.

  Returns:
    float [frames, 4]: top, left, bottom and right edge, in pixels.
  """
  _, background_colour = _colours(scene, rng)
  _background(scene, background_colour, rng)  # for what it draws
  course = _course(verb, scene, rng)
  outlines = [_outline(noun, course, n) for n in range(scene.frames)]
  return np.stack(
    [
      np.concatenate([points.min(axis=0)[::-1], points.max(axis=0)[::-1]])
      for points in outlines
    ]
  )
