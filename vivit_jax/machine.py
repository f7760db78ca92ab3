"""What figures depend on: the day, the processor and versions of packages."""

import datetime
import importlib.metadata
import os
import pathlib
import platform


def describe(*packages: str) -> str:
  """Returns a line with the date, the processor and versions of packages."""
  cpuinfo = pathlib.Path('/proc/cpuinfo')
  lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
  names = [x.split(':')[1] for x in lines if x.startswith('model name')]
  name = names[0].strip() if names else platform.machine()
  versions = [f'Python {platform.python_version()}']
  for package in packages:
    try:
      versions.append(f'{package} {importlib.metadata.version(package)}')
    except importlib.metadata.PackageNotFoundError:
      versions.append(f'no {package}')
  today = datetime.date.today().isoformat()
  return f'{today}; {len(cores())} cores of {name}; {", ".join(versions)}.'


def cores() -> list[int]:
  """Returns the cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))
