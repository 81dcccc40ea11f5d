"""Libraries of networks are imported without torch's compiler, and do what they do with it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import sys
    from geoseg.models.late_compiler import late_compiler
    import segmentation_models_pytorch as smp
    import torch
    from torchvision.ops import roi_align

    def has_compiler():
        return "torch._dynamo" in sys.modules or "torch._dynamo.utils" in sys.modules

    network = smp.Unet("resnet18", encoder_weights=None, classes=2).eval()
    with torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32))
    print(has_compiler(), "sympy" in sys.modules)

    with late_compiler():
        @torch.compiler.disable(reason="as timm does")
        def double(x):
            return 2 * x
    print(has_compiler(), double(3), has_compiler())
    import torch._dynamo.config  # the real one

    pixels = torch.rand(1, 3, 32, 32)
    torch.use_deterministic_algorithms(True)
    boxes = torch.tensor([[0, 2.0, 2, 20, 20]])
    print(roi_align(pixels, boxes, 4).shape)
    print(torch.compile(lambda x: double(x) + 1, backend="eager")(torch.ones(2)).tolist())
"""


@pytest.mark.slow
def test_the_compiler_is_imported_by_what_needs_it() -> None:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == [
        *("False False", "False 6 False", "torch.Size([1, 3, 4, 4])", "[3.0, 3.0]"),
    ], done.stderr
