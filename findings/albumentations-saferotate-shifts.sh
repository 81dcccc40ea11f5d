#!/usr/bin/env bash
# albumentations 2.0.8: SafeRotate, the rotation that keeps the whole image, moves the image, its mask and its boxes by
# different distances. It turns about size / 2, where OpenCV counts from the middle of the first pixel, so the image is
# resampled half a pixel off, the mask (nearest) falls to one side, and boxes stay. A rotation by 0 degrees does it too.
# Training with it teaches a network edges beside those of the image. Rotate, with the same angle, moves all alike.
#
# Seen (where the middle of a square goes, x and y in px, of an image of 8 x 8; right is 1.5, 2.5 for 0 degrees and
# 5.5, 4.5 for 180):
#     0 degrees: image 2.0, 3.0; mask 2.5, 2.5; box 1.5, 2.5
#   180 degrees: image 6.0, 5.0; mask 5.5, 5.5; box 5.5, 4.5
#
# Exits 0 as long as boxes are right, image and mask are not, and Rotate is right in all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "albumentations==2.0.8" "numpy==2.4.6" "opencv-python-headless==5.0.0.93"
NO_ALBUMENTATIONS_UPDATE=1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import albumentations
import cv2
import numpy as np

image = np.zeros((8, 8), np.uint8)
image[2:4, 1:3] = 200
RIGHT = {0: (1.5, 2.5), 180: (5.5, 4.5)}


def middle(pixels):
    rows, columns = np.indices(pixels.shape)
    weights = pixels / pixels.sum()
    return round(float((columns * weights).sum()), 2), round(float((rows * weights).sum()), 2)


def middles(transform):
    """Middles of the square in the image, in its mask, and of its box, px."""
    boxes = albumentations.BboxParams("pascal_voc", label_fields=["names"])
    whole = albumentations.Compose([transform], bbox_params=boxes, seed=1)
    turned = whole(image=image, mask=image, bboxes=[[1, 2, 3, 4]], names=[0])
    left, top, right, bottom = (float(edge) for edge in turned["bboxes"][0])
    box = round((left + right) / 2 - 0.5, 2), round((top + bottom) / 2 - 0.5, 2)
    return middle(turned["image"]), middle(turned["mask"]), box


print("albumentations", albumentations.__version__, "OpenCV", cv2.__version__)
is_same = True
for degrees, right in RIGHT.items():
    safe = middles(albumentations.SafeRotate((degrees, degrees), p=1))
    plain = middles(albumentations.Rotate((degrees, degrees), p=1))
    print(f"{degrees:3} degrees, right is {right}: SafeRotate (image, mask, box) {safe}, Rotate {plain}")
    is_same &= safe[2] == right and right not in safe[:2] and plain == (right, right, right)
sys.exit(not is_same)
PYTHON
