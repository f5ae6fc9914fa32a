#!/usr/bin/env bash
# The main job, end to end, on phantom scans (synthetic): a teacher and a student are made, trained and distilled, compiled to plans,
# timed, and the student segments a scan that neither has seen. Everything lands in demo/. Takes a few minutes on two cores.
set -euo pipefail
mitral=build/mitral
out=demo
steps=${MITRAL_DEMO_STEPS:-200}
size=128 # pixels of 1.37 mm: the heart, without the rest of the chest
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

say "Phantom scans in ACDC's folder layout"
[ -d "$out/data/training" ] || $mitral phantom "$out/data" --patients 12 --seed 0

say "A teacher (U-Net) and a student (DPU-Net) as ONNX"
$mitral create unet -o "$out/teacher-initial.onnx" --size $size --widths 16,32,64,128,256
$mitral create dpu-net -o "$out/student-initial.onnx" --size $size

say "The teacher learns"
$mitral train --model "$out/teacher-initial.onnx" --data "$out/data" -o "$out/teacher.onnx" --steps "$steps" --batch 4 --optimizer adamw --lr 0.003

say "The student is distilled from it"
rm -rf "$out/run" # of an earlier demo
$mitral distill --teacher "$out/teacher.onnx" --student "$out/student-initial.onnx" --data "$out/data" -o "$out/student.onnx" \
  --checkpoint "$out/run" --steps "$steps" --batch 4 --optimizer adamw --lr 0.003 --method logits
$mitral report "$out/run" -o "$out/report.html"

say "Execution plans, and their speed on one slice"
for name in teacher student; do
  $mitral compile "$out/$name.onnx" -o "$out/$name.plan" --shape "image=1x1x${size}x${size}"
  printf '%s: ' "$name"
  $mitral bench "$out/$name.plan" --repeat 30
done

say "Patients that neither has seen"
for name in teacher student; do
  printf '%s:\n' "$name"
  $mitral evaluate "$out/$name.plan" --data "$out/data" --split testing
done

scan=$(ls "$out"/data/testing/patient*/patient*_frame01.nii.gz | head -n 1)
say "A segmented scan: $scan"
$mitral segment "$out/student.plan" "$scan" -o "$out/mask.nii.gz" --overlay "$out/overlay.png"
printf 'mask: %s\npicture: %s\nthe distillation as a page: %s\n' "$out/mask.nii.gz" "$out/overlay.png" "$out/report.html"
