#!/usr/bin/env bash
# The recipe of models/dpu-net-phantom.onnx: phantom (synthetic) scans alone, a teacher, and the student distilled from it. Run it from the
# project's root; the same command goes on where it was interrupted. About ten minutes on two quiet cores.
#
#     models/pretrain.sh [WORK]     then: cp WORK/dpu-net-phantom.onnx models/, and its figures into models/README.md
set -euo pipefail
mitral=${MITRAL:-build/mitral}
work=${1:-pretrained}
mkdir -p "$work"

[ -f "$work/data.done" ] || { $mitral phantom "$work/data" --patients 36 --hard --no-cine --seed 1; touch "$work/data.done"; }
[ -f "$work/plain.done" ] || { $mitral phantom "$work/plain" --patients 36 --no-cine --seed 2; touch "$work/plain.done"; }

common=(--data "$work/data" --batch 8 --optimizer adamw --schedule cosine --warmup 20 --resume)
[ -f "$work/teacher-initial.onnx" ] || $mitral create unet -o "$work/teacher-initial.onnx" --widths 16,32,64,128,256 --size 96 --seed 3
[ -f "$work/teacher.onnx" ] || $mitral train --model "$work/teacher-initial.onnx" "${common[@]}" --validation 0 --steps 400 --lr 0.002 \
  --checkpoint "$work/teacher" -o "$work/teacher.onnx"

[ -f "$work/student-initial.onnx" ] || $mitral create dpu-net -o "$work/student-initial.onnx" --size 96
[ -f "$work/dpu-net-phantom.onnx" ] || $mitral distill --teacher "$work/teacher.onnx" --student "$work/student-initial.onnx" "${common[@]}" \
  --validation 0.1 --steps 600 --lr 0.003 --method mavkd --logits 3 --vector 10 --map 10 --checkpoint "$work/student" -o "$work/dpu-net-phantom.onnx"

for data in data plain; do
  for name in teacher dpu-net-phantom; do
    $mitral evaluate "$work/$name.onnx" --data "$work/$data" --json "$work/$name-$data.json" >/dev/null
    $mitral evaluate "$work/$name.onnx" --data "$work/$data"
  done
done
$mitral report "$work/student" --evaluation "$work/dpu-net-phantom-data.json" -o "$work/report.html"
