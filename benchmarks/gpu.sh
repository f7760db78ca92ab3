#!/usr/bin/env bash
# Measures training on a GPU, and replaces the section of RESULTS.md about it.
#
#   benchmarks/gpu.sh [PYTHON]
#
# PYTHON (default: python3) needs jax, flax, optax, orbax and opencv; wheels of what
# else it lacks (einops) are read from WHEELS (default: wheels). If it has torch, and
# transformers or torchvision, these are compared. A part that fails or takes too
# long does not end the others, and RESULTS.md has the figures so far; their limits
# sum to 690 s. TINY=1 rehearses it with small models and clips; RESULTS=FILE writes
# to another file.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
python=${1:-python3} results=${RESULTS:-benchmarks/RESULTS.md}
section=$(mktemp) log=$(mktemp)
for wheel in "${WHEELS:-wheels}"/*.whl; do
  [[ -e $wheel ]] && export PYTHONPATH=$wheel${PYTHONPATH:+:$PYTHONPATH}
done
rounds=5 b=B l=L long='--frames=32 --crop=224' short='--frames=16 --crop=224'
prism='--frames=16 --crop=288'
if [[ ${TINY:-} ]]; then
  rounds=1 b=S l=S long='--frames=4 --crop=64' short=$long prism='--frames=4 --crop=72'
fi

with() { # PACKAGE: ",torch" if Python has it
  "$python" -c "import torch, $1" 2>>"$log" && echo ,torch
}

save() { # replaces the section of RESULTS.md by what was measured so far
  "$python" - "$section" "$results" <<'EOP'
import pathlib, re, sys

section, results = map(pathlib.Path, sys.argv[1:])
text = results.read_text() if results.exists() else ''
text = re.sub(r'## On a GPU\n(?:(?!\n## ).)*', '', text, flags=re.DOTALL)
text = '\n\n'.join(x for x in (text.strip(), section.read_text().strip()) if x)
results.write_text(f'{text}\n')
EOP
}

part() { # LIMIT FLAGS: appends the output of a benchmark, or why there is none
  local limit=$1 command
  # Flags are separated by spaces.
  read -ra command <<<"benchmarks.train_step --dtype=bfloat16 $2"
  {
    echo "    python -m ${command[*]}"
    echo
    timeout --kill-after=5 "$limit" "$python" -m "${command[@]}" \
      --torch_python="$python" --torch_seconds=$((limit / 3)) 2>>"$log" ||
      echo "Failed with exit code $?; 124: not finished in $limit s."
    echo
  } | tee -a "$section"
  save
}

vivit=$(with transformers) hierarchies=$(with torchvision)
step="--what=step --rounds=$rounds --largest --against=ours"
printf '## On a GPU\n\n' | tee "$section"
part 70 "--family=factorised_encoder --size=$b --batch=16 $long $step"
part 150 "--family=joint --size=$b --batch=8 $long $step,attention=chunked$vivit"
part 90 "--family=factorised_encoder --size=$l --batch=8 $long $step"
part 90 "--family=mvit --batch=16 $short $step$hierarchies"
part 90 "--family=video_swin --batch=8 $long $step$hierarchies"
part 40 "--family=joint --size=$b --batch=2 $long --parity"
part 80 "--family=videomae --size=$b --batch=16 $short $step$vivit"
part 80 "--family=videoprism --size=B --batch=8 $prism $step$vivit"
echo "section: $results; errors: $log"
