#!/usr/bin/env bash
# torch 2.14.1 (CPU) with segmentation-models-pytorch 0.6.0: torch.histc counts in the input's own type. In float32 each
# thread stops counting a bin at 2**24 = 16,777,216, so the answer depends on the number of threads.
# smp.metrics.get_stats(mode="multiclass") counts true and false positives with it, one image at a time, and a scene of
# more than 4096 x 4096 pixels is no longer counted: errors vanish where both counts are cut off.
#
# Seen, for 6000 x 6000 pixels, one quarter of them wrong (IoU of class 0 is 0.7491): with one thread 0 false negatives
# and IoU 1.0; with two threads IoU 0.8022. The counts of the other kinds are off by as much.
#
# Exits 0 as long as one thread gives IoU 1.0 where integers give less than 0.75.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.14.1" "segmentation-models-pytorch==0.6.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.metrics import get_stats, iou_score

truth = torch.zeros((1, 6000, 6000), dtype=torch.long)
truth[0, :10] = 1
labels = torch.zeros_like(truth)
labels[0, :, :1500] = 1
both, either = ((labels == 0) & (truth == 0)).sum(), ((labels == 0) | (truth == 0)).sum()
exact = float(both / either)

print("torch", torch.__version__, "smp", smp.__version__, "IoU of class 0, counted:", round(exact, 4))
found = {}
for threads in (1, 2):
    torch.set_num_threads(threads)
    counts = get_stats(labels, truth, mode="multiclass", num_classes=2)
    found[threads] = float(iou_score(*counts, reduction=None)[0, 0])
    tp, fp, fn, tn = (int(count[0, 0]) for count in counts)
    print(threads, f"threads: IoU {found[threads]:.4f}, {tp=:,} {fp=:,} {fn=:,} {tn=:,}")
sys.exit(not (found[1] == 1 and exact < 0.75))
PYTHON
