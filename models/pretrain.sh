#!/usr/bin/env bash
# How models/dpu-net-phantom.onnx was made: phantom (synthetic) scans alone, a teacher, and the student distilled from it. Run it from
# the project's root; it goes on where it was interrupted. Half an hour to an hour on two cores.
set -euo pipefail
mitral=${MITRAL:-build/mitral}
work=${1:-pretrained}
mkdir -p "$work"

[ -f "$work/data.done" ] || { $mitral phantom "$work/data" --patients 60 --hard --no-cine --seed 7; touch "$work/data.done"; }
[ -d "$work/plain/testing" ] || $mitral phantom "$work/plain" --patients 30 --no-cine --seed 8

common=(--data "$work/data" --batch 8 --optimizer adamw --schedule cosine --warmup 30 --checkpoint-every 50 --resume)
[ -f "$work/teacher-initial.onnx" ] || $mitral create unet -o "$work/teacher-initial.onnx" --widths 16,32,64,128,256 --size 128 --seed 1
[ -f "$work/teacher.onnx" ] || $mitral train --model "$work/teacher-initial.onnx" "${common[@]}" --validation 0.1 --steps 1200 --lr 0.002 \
  --checkpoint "$work/teacher" -o "$work/teacher.onnx"

[ -f "$work/student-initial.onnx" ] || $mitral create dpu-net -o "$work/student-initial.onnx" --size 128
[ -f "$work/dpu-net-phantom.onnx" ] || $mitral distill --teacher "$work/teacher.onnx" --student "$work/student-initial.onnx" "${common[@]}" \
  --validation 0.1 --steps 1500 --lr 0.003 --method mavkd --logits 1 --vector 3 --map 3 --ema 0.99 --checkpoint "$work/student" -o "$work/dpu-net-phantom.onnx"

for name in teacher dpu-net-phantom; do
  for data in data plain; do
    $mitral evaluate "$work/$name.onnx" --data "$work/$data" --json "$work/$name-$data.json" > /dev/null
    $mitral evaluate "$work/$name.onnx" --data "$work/$data"
  done
done
$mitral report "$work/student" -o "$work/report.html"
