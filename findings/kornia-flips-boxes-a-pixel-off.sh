#!/usr/bin/env bash
# kornia 0.9.0 (torch 2.14.1, CPU): kornia.augmentation turns an image, its mask and its boxes together, and boxes land
# a pixel beside the object. Boxes of "bbox_xyxy" have exclusive right and lower edges (kornia's own Boxes.to_mask fills
# them so), but they are mirrored like centres of pixels: x becomes width - 1 - x where an edge becomes width - x. After
# one flip the IoU of a box with its object is 0.78 for an object 8 px wide, and 0.60 for one of 4 px; a rotation by 180
# degrees moves it by a pixel in x and in y.
#
# Seen, for a square in columns 1 and 2 and rows 2 and 3 of 8 x 8 pixels, with its box (1, 2, 3, 4): a horizontal flip
# puts image and mask into columns 5 and 6, and the box into (4, 2, 6, 4), where (5, 2, 7, 4) is right.
#
# Exits 0 as long as the image's and the mask's squares are where they belong, and the boxes a pixel off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "kornia==0.9.0" "torch==2.14.1" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import kornia
import kornia.augmentation as augmentation
import torch

image = torch.zeros(1, 1, 8, 8)
image[0, 0, 2:4, 1:3] = 1
box = torch.tensor([[[1.0, 2, 3, 4]]])
is_exclusive = torch.equal(kornia.geometry.boxes.Boxes.from_tensor(box, mode="xyxy").to_mask(8, 8)[0, 0], image[0, 0])
print("kornia", kornia.__version__, "torch", torch.__version__, "- the box covers its square:", is_exclusive)


def extent(pixels):
    """Left, upper, right and lower edge of the pixels that are set, the last two exclusive."""
    rows, columns = torch.where(pixels[0, 0] > 0.5)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


CASES = {
    "horizontal flip": (augmentation.RandomHorizontalFlip(p=1.0), [5, 2, 7, 4], [4, 2, 6, 4]),
    "vertical flip": (augmentation.RandomVerticalFlip(p=1.0), [1, 4, 3, 6], [1, 3, 3, 5]),
    "180 degrees": (augmentation.RandomRotation((180.0, 180.0), p=1.0), [5, 4, 7, 6], [4, 3, 6, 5]),
}
is_same = is_exclusive
for name, (turn, right, seen) in CASES.items():
    together = augmentation.AugmentationSequential(turn, data_keys=["input", "mask", "bbox_xyxy"])
    turned, mask, boxes = together(image, image.clone(), box)
    found = [round(edge, 3) for edge in boxes.flatten().tolist()]
    print(f"{name}: image {extent(turned)}, mask {extent(mask)}, box {found}")
    is_same &= extent(turned) == extent(mask) == right and found == seen
sys.exit(not is_same)
PYTHON
