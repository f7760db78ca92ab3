"""Renderer of moving_shapes: a textured shape that moves and returns."""

import dataclasses

import cv2
import numpy as np

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
_OVERSAMPLING = 4  # of the shape's mask, for smooth edges


@dataclasses.dataclass(frozen=True)
class Scene:
  """Size, length and difficulty of the videos."""

  pixels: int = 48  # height and width, even (H.264 subsamples colours)
  frames: int = 18  # a little more than `loop`
  # Period of the motion, in frames. A clip that spans one period shows the
  # whole motion once, wherever it begins.
  loop: int = 16
  # Min colour distance between the (brighter) shape and the background,
  # relative to that of white from black, at most 0.8.
  contrast: float = 0.3
  clutter: int = 4  # max number of blobs in the background
  texture: float = 30.0  # max amplitude of textures, in levels from 0 to 255
  tilt: float = 0.4  # max angle of a shape, in radians
  noise: float = 4.0  # standard deviation, in levels from 0 to 255


def _ring(angles: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
  """Converts polar coordinates to points x, y, float [points, 2]."""
  return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)


def _corners(count: int) -> np.ndarray:
  """Returns the corner angles of a regular polygon with a corner on top."""
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


# Outlines in the unit disc: points x, y, float [points, 2].
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
  """Returns a triangle wave 0 -> 1 -> 0, float [frames] in [0, 1].

  In frames, `loop` is the period, `begun` the phase at the video's first frame,
  and `turning` the length of the rise 0 -> 1.
  """
  phase = (np.arange(frames) + begun) % loop
  return np.where(
    phase < turning, phase / turning, (loop - phase) / (loop - turning)
  )


def _course(verb: str, scene: Scene, rng: np.random.Generator) -> np.ndarray:
  """Draws a shape's trajectory, float [frames, 4]: x, y, radius and angle."""
  pair, second = divmod(VERBS.index(verb), 2)
  # `begun` and `early` have the same distribution, so that the two verbs of a
  # pair are the same loop, started half a loop apart.
  begun, early = rng.uniform(0, 3 / 16, 2) * scene.loop
  turning = begun + scene.loop / 2 - early
  course = there_and_back(scene.frames, scene.loop, begun, turning)
  if second:
    course = 1 - course
  radius = max_radius = scene.pixels * rng.uniform(0.17, 0.24)
  angle = rng.uniform(-scene.tilt, scene.tilt)
  shift = np.zeros(scene.frames)
  if pair in (0, 1):
    shift = -(course - 0.5) * scene.pixels * rng.uniform(0.22, 0.36)
  elif pair == 2:
    max_radius = scene.pixels * rng.uniform(0.28, 0.36)
    min_radius = scene.pixels * rng.uniform(0.13, 0.18)
    radius = min_radius + course * (max_radius - min_radius)
  else:
    angle = angle + (course - 0.5) * rng.uniform(1.0, 1.6)
  centre = []
  for axis in (0, 1):
    shift_along = shift * (pair == axis)
    margin = max_radius + 1.5 + np.abs(shift_along).max()
    middle = scene.pixels / 2
    if margin < middle:
      middle = rng.uniform(margin, scene.pixels - margin)
    centre.append(middle + shift_along)
  return np.stack(np.broadcast_arrays(*centre, radius, angle), axis=-1)


def _outline(noun: str, position: np.ndarray) -> np.ndarray:
  """Returns a noun's outline in pixels, float [points, 2].

  `position` is x, y, radius and angle, from `_course`.
  """
  x, y, radius, angle = position
  cos, sin = np.cos(angle), np.sin(angle)
  turned = _OUTLINES[noun] @ np.array([[cos, sin], [-sin, cos]])
  return turned * radius + [x, y]


def _smooth_noise(
  pixels: int, cells: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns smooth noise in [-1, 1], float32 [pixels, pixels, 1]."""
  coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
  return cv2.resize(
    coarse, (pixels, pixels), interpolation=cv2.INTER_CUBIC
  ).clip(-1, 1)[..., None]


def _background(
  scene: Scene, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Returns a background with texture and clutter, float32 [H, W, 3]."""
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
  """Draws colours of shape and background with at least `scene.contrast`."""
  min_distance = scene.contrast * np.sqrt(3) * 255
  while True:
    background = rng.uniform(10, 130, 3).astype(np.float32)
    shape = rng.uniform(110, 245, 3).astype(np.float32)
    if np.linalg.norm(shape - background) >= min_distance:
      return shape, background


def render(
  verb: str, noun: str, scene: Scene, rng: np.random.Generator
) -> np.ndarray:
  """Renders one video, uint8 RGB [frames, pixels, pixels, 3]."""
  colour, background_colour = _colours(scene, rng)
  background = _background(scene, background_colour, rng)
  course = _course(verb, scene, rng)
  texture_scale = rng.uniform(scene.texture / 4, scene.texture)
  stripes = rng.uniform(2.0, 5.0)
  phase = rng.uniform(0, 2 * np.pi)
  rows, columns = np.mgrid[: scene.pixels, : scene.pixels].astype(np.float32)
  video = np.empty((scene.frames, scene.pixels, scene.pixels, 3), np.uint8)
  size = scene.pixels, scene.pixels
  for frame, position in enumerate(course):
    mask = np.zeros([side * _OVERSAMPLING for side in size], np.uint8)
    corners = np.round(_outline(noun, position) * _OVERSAMPLING)
    cv2.fillPoly(mask, [corners.astype(np.int32)], 255)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    x, y, radius, angle = position
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    texture = np.sin(stripes * (along / radius) + phase)[..., None]
    alpha = mask[..., None].astype(np.float32) / 255
    shape = colour + texture_scale * texture
    image = background * (1 - alpha) + shape * alpha
    image += rng.normal(0, scene.noise, image.shape)
    video[frame] = np.clip(np.round(image), 0, 255)
  return video
