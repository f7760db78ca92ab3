#!/usr/bin/env bash
# Trains on a TPU slice in a GKE cluster, as launch/gke_jobset.yaml says.
#
#   NAME=vivit IMAGE=gcr.io/project/vivit CLAIM=runs launch/gke.sh \
#     --config=configs/k400_b16x2_fe.py --workdir=/mnt/shared/k400_b16x2_fe
#
# The cluster has JobSet and a node pool of the slice; CLAIM is a volume claim
# that all pods can write (ReadWriteMany), with the data and the workdir.
#
# ACCELERATOR=...  tpu-v4-podslice
# TOPOLOGY=...     2x2x4, which is v4-32: 16 chips
# HOSTS=...        of the slice (4)
# CHIPS=...        of a host (4)
# DRY_RUN=1        print what would be applied
set -euo pipefail
cd "$(dirname "$0")"

: "${NAME:?is missing: of the JobSet}"
: "${IMAGE:?is missing: of launch/Dockerfile}"
: "${CLAIM:?is missing: a volume claim that all pods can write}"

list=''
for argument in "$@"; do
  escaped=${argument//\\/\\\\}
  escaped=${escaped//\"/\\\"}
  escaped=${escaped//$'\t'/\\t}
  list+=${list:+, }\"${escaped//$'\n'/\\n}\"
done
manifest=$(<gke_jobset.yaml)
# Quoted, so that & in a value is itself.
manifest=${manifest//__NAME__/"$NAME"}
manifest=${manifest//__IMAGE__/"$IMAGE"}
manifest=${manifest//__CLAIM__/"$CLAIM"}
manifest=${manifest//__ACCELERATOR__/"${ACCELERATOR:-tpu-v4-podslice}"}
manifest=${manifest//__TOPOLOGY__/"${TOPOLOGY:-2x2x4}"}
manifest=${manifest//__HOSTS__/"${HOSTS:-4}"}
manifest=${manifest//__CHIPS__/"${CHIPS:-4}"}
manifest=${manifest//__ARGUMENTS__/"$list"}
if [[ ${DRY_RUN:-} == 1 ]]; then
  echo "$manifest"
else
  kubectl apply -f - <<<"$manifest"
fi
