#!/usr/bin/env bash
# transformers 5.24.0 (torch 2.14.1): Mask2FormerImageProcessor.post_process_semantic_segmentation resamples masks to
# 384 x 384 px first, whatever the image's size, and then to the target size; instance and panoptic post-processing do
# so too. The network gives masks of a quarter of the image's size: what is finer in an image of more than 1,536 px is
# lost. MaskFormerImageProcessor, given the same outputs, resamples once.
#
# Seen, for an image of 2,560 px (masks of 640 px) with 40 straight roads of one mask pixel, 4 px of the image:
# MaskFormer's processor draws 40 roads of 4 px, Mask2Former's 24 of 6 and 7 px.
#
# Exits 0 as long as MaskFormer's draws all roads and Mask2Former's loses some.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "transformers==5.24.0" "torch==2.14.1" "torchvision==0.29.1" "pillow==13.0.0"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
import transformers
from transformers import Mask2FormerImageProcessor, MaskFormerImageProcessor
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentationOutput

IMAGE, ROADS = 2560, 40
side = IMAGE // 4
road = torch.zeros((side, side), dtype=torch.bool)
road[:, 8 :: side // ROADS] = True
masks = torch.stack([torch.where(road, -10.0, 10.0), torch.where(road, 10.0, -10.0)])[None]
classes = torch.tensor([[[10.0, -10.0, -10.0], [-10.0, 10.0, -10.0]]])  # ground, road, none
output = Mask2FormerForUniversalSegmentationOutput(class_queries_logits=classes, masks_queries_logits=masks)

print("transformers", transformers.__version__, "torch", torch.__version__)
drawn = {}
for processor in (MaskFormerImageProcessor(), Mask2FormerImageProcessor()):
    (labels,) = processor.post_process_semantic_segmentation(output, target_sizes=[(IMAGE, IMAGE)])
    row = (labels[IMAGE // 2] == 1).int()
    starts, ends = (row.diff(prepend=torch.zeros(1)) == 1).nonzero(), (row.diff(append=torch.zeros(1)) == -1).nonzero()
    widths = (ends - starts + 1).flatten().tolist()
    drawn[type(processor).__name__] = len(widths)
    print(type(processor).__name__, tuple(labels.shape), len(widths), "of", ROADS, "roads, px wide:", sorted(set(widths)))
sys.exit(not (drawn["MaskFormerImageProcessor"] == ROADS > drawn["Mask2FormerImageProcessor"]))
PYTHON
