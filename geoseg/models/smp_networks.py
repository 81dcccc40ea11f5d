"""Which network of segmentation-models-pytorch a state dict is of, told by the names and shapes of its tensors.

Candidates are built without memory for their tensors (torch's device ``meta``) and compared name by name and shape by
shape, so that nothing is guessed: hints of a trainer only narrow the candidates. What leaves no trace in tensors, such
as dilation, is the library's default unless a trainer says it.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.encoders import encoders, get_encoder
from torch.overrides import TorchFunctionMode

from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import COMPILED, TRAINING, Shapes

HEAD, ENCODER, DECODER = "segmentation_head.", "encoder.", "decoder."
"""How names of tensors begin in every network of the library."""

WEIGHT = 4
"""Axes of the weights of a convolution."""

TIMM = "tu-"
"""How names of encoders begin that timm builds; their tensors do not tell which of its thousand they are."""

PATCHES = "model.patch_embed.proj.weight"
"""The convolution of a vision transformer that sees the pixels."""

ENCODERS = {
    "encoder.layer1.": "*res*",
    "encoder.layer0.": "se*",
    "encoder.features.conv0.": "densenet*",
    "encoder.features.conv1_1.": "dpn*",
    "encoder.features.0.": "*v*",
    "encoder._conv_stem.": "efficientnet-*",
    "encoder.conv_stem.": "timm-*efficientnet*",
    "encoder.patch_embed1.": "mit_*",
    "encoder.stage0.rbr_": "mobileone_*",
    "encoder.conv2d_1a.": "inceptionresnetv2",
    "encoder.conv4.pointwise.": "xception",
}
"""Names of tensors, and patterns of the encoders that have such; without any, all are tried."""

DECIDING = re.compile(r"decoder_\w+|psp_out_channels|encoder_depth|encoder_output_stride|encoder_output_indices")
"""Arguments, beside the encoder's name, that decide what a network gives."""

NOTHING: Mapping[str, Any] = {}

TRACELESS = ("encoder_output_stride", "decoder_atrous_rates", "decoder_interpolation", "encoder_output_indices")
"""Arguments that change what a network gives and none of its tensors."""


@dataclass(frozen=True)
class LibraryNetwork:
    """A network that has exactly the tensors of a file.

    Attributes
    ----------
    architecture : str
        Class of the library.
    bands, scores : int
        Of its input and output.
    hyperparameters : dict
        Arguments that build it, with those that leave no trace in tensors.
    unsaid : tuple of str
        Arguments among them that leave no trace and are the library's defaults because nothing says otherwise.
    library : str
        The family of the class.
    """

    architecture: str
    bands: int
    scores: int
    hyperparameters: dict[str, Any]
    unsaid: tuple[str, ...]
    library: str = "smp"


def find_heads(shapes: Mapping[str, Any]) -> list[str]:
    """List the prefixes under which a network of the library may stand."""
    named = [name.replace(COMPILED, "") for name in shapes]
    found = dict.fromkeys(name.partition(HEAD)[0] for name in named if HEAD in name)
    return [prefix for prefix in found if any(name.startswith(prefix + ENCODER) for name in named)]


def find_networks(
    shapes: Shapes, architecture: str = "", encoder: str = "", told: Mapping[str, Any] = NOTHING
) -> list[LibraryNetwork]:
    """List the networks that have tensors of these names and shapes.

    Parameters
    ----------
    shapes : dict
        Shape of each tensor by name; the only one of `find_heads` stands before those of the network.
    architecture, encoder : str
        The only ones to look at, as the library names them; empty: all.
    told : mapping
        Arguments that are known; those that decide nothing of a network play no part.
    """
    (prefix,) = find_heads(shapes)
    named = {name.replace(COMPILED, ""): shape for name, shape in shapes.items()}
    own = {name.removeprefix(prefix): shape for name, shape in named.items() if name.startswith(prefix)}
    own = {name: shape for name, shape in own.items() if TRAINING.match(name) is None}
    classes = [name for name in TRACES if architecture in ("", name) and TRACES[name].mark in own]
    found = [
        network
        for name in ([encoder] if encoder else _encoders(own))
        for bands in _bands(name, own)
        for kind in classes
        for network in _with_encoder(own, kind, name, bands, told)
    ]
    return list({repr(network): network for network in found}.values())


def with_found_encoder(spec: ModelSpec, shapes: Shapes) -> ModelSpec:
    """Return the spec with the encoder, and all else of its network, that its weights are of.

    Parameters
    ----------
    spec : ModelSpec
        One that says an ``encoder_name`` is returned as it is; what else it says is kept.
    shapes : dict
        Of its tensors by name.

    Returns
    -------
    ModelSpec
        As it was where no network of the library, or more than one, has these tensors: loading says what does not fit.
    """
    said, kind = dict(spec.hyperparameters), spec.architecture.removeprefix("smp.")
    if "encoder_name" in said or len(find_heads(shapes)) != 1:
        return spec
    found = find_networks(shapes, kind, "", said)
    if len(found) != 1:
        return spec
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in found[0].hyperparameters.items()}
    return replace(spec, hyperparameters=tuple(sorted((told | said).items())))


def is_of_timm(shapes: Shapes) -> bool:
    """Say whether the encoder is one of timm's."""
    return any(f"{ENCODER}model." in name for name in shapes)


def _encoders(shapes: Shapes) -> list[str]:
    """Names of the library's own encoders that a state dict may have."""
    patterns = [pattern for mark, pattern in ENCODERS.items() if any(name.startswith(mark) for name in shapes)]
    named = [name for name in encoders if fnmatchcase(name, (patterns or ["*"])[0])]
    return [] if is_of_timm(shapes) else [name for name in named if _has_stages(encoders[name]["params"], shapes)]


def _has_stages(parameters: Mapping[str, Any], shapes: Shapes) -> bool:
    """Whether the stages of an encoder have as many blocks as tensors tell, where it says how many it has."""
    stages = parameters.get("layers") or parameters.get("depths") or ()
    for number, blocks in enumerate(stages, 1):
        starts = f"{ENCODER}layer{number}.", f"{ENCODER}block{number}."
        found = {name.split(".")[2] for name in shapes if name.startswith(starts)}
        if found and len(found) != blocks:
            return False
    return True


def _bands(encoder: str, shapes: Shapes) -> Iterator[int]:
    """How many bands an encoder takes to have these tensors; nothing where it has others."""
    own = {name.removeprefix(ENCODER): shape for name, shape in shapes.items() if name.startswith(ENCODER)}
    if TRACES["DPT"].mark in shapes and PATCHES in own:
        yield own[PATCHES][1]
        return
    built = build_shapes(get_encoder, name=encoder, in_channels=3, weights=None) or {}
    if not own or not own.keys() <= built.keys():
        return
    other = [(own[name], built[name]) for name in own if own[name] != built[name]]
    counts = {shape[1] for shape, _ in other if len(shape) == WEIGHT}
    is_first = all(len(one) == WEIGHT == len(two) and one[:1] + one[2:] == two[:1] + two[2:] for one, two in other)
    if is_first and len(counts) <= 1:
        yield counts.pop() if counts else 3


def _with_encoder(
    shapes: Shapes, kind: str, encoder: str, bands: int, told: Mapping[str, Any]
) -> Iterator[LibraryNetwork]:
    """Networks of a class and an encoder that have these tensors."""
    architecture: Callable[..., Any] = getattr(smp, kind)
    known = inspect.signature(architecture).parameters
    said = {key: value for key, value in told.items() if key in known and DECIDING.fullmatch(key)}
    silent = {key: known[key].default for key in TRACELESS if key in known}
    heads = [shape for name, shape in shapes.items() if name.startswith(HEAD) and len(shape) == WEIGHT]
    decided = {"encoder_weights": None, "in_channels": bands, "classes": heads[-1][0]}
    for traced in TRACES[kind].read(shapes):
        arguments = {"encoder_name": encoder, **silent, **traced, **said}
        if build_shapes(architecture, **arguments, **decided) == shapes:
            unsaid = tuple(key for key in silent if key not in said)
            yield LibraryNetwork(kind, bands, heads[-1][0], _listed(arguments), unsaid)


def _listed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


class WithoutNumbers(TorchFunctionMode):
    """Leaves out what fills tensors that have no memory; rates by layer, which constructors read, have numbers.

    To fill them torch would import its compiler.
    """

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        settings = kwargs or {}
        filled = args[0] if args else settings.get("tensor")  # functions of torch.nn.init are called with names
        is_filling = name.endswith("_") and not name.endswith("__")
        if is_filling and isinstance(filled, torch.Tensor) and filled.is_meta:
            return filled
        counts = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**settings, **counts})


def build_shapes(builder: Callable[..., Any], **arguments: Any) -> Shapes | None:
    """Return shapes by name of a network that is built without memory; None where arguments do not fit together."""
    try:
        with torch.device("meta"), WithoutNumbers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = builder(**arguments).state_dict()
    except (
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AssertionError,
        IndexError,
        ArithmeticError,
        NotImplementedError,
    ):
        return None
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@dataclass(frozen=True)
class _Trace:
    """How an architecture is recognised: a tensor that it has, and the arguments that its shapes tell."""

    mark: str
    read: Callable[[Shapes], Iterator[dict[str, Any]]]


def _normalized(shapes: Shapes) -> dict[str, Any]:
    """Whether the decoder has normalisation, where it has none."""
    is_normal = any(name.startswith(DECODER) and name.endswith("running_mean") for name in shapes)
    return {} if is_normal else {"decoder_use_norm": False}


def _channels(shapes: Shapes, pattern: str) -> dict[str, Any]:
    """Depth and channels of a decoder of numbered blocks."""
    found: list[int] = []
    while (shape := shapes.get(pattern.format(len(found)))) is not None:
        found.append(shape[0])
    return {"encoder_depth": len(found), "decoder_channels": tuple(found), **_normalized(shapes)}


def _attention(shapes: Shapes) -> dict[str, Any]:
    return {"decoder_attention_type": "scse"} if any(".attention1.attention." in name for name in shapes) else {}


def _read_unet(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield _channels(shapes, "decoder.blocks.{}.conv1.0.weight") | _attention(shapes)


def _read_unet_plus_plus(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield _channels(shapes, "decoder.blocks.x_0_{}.conv1.0.weight") | _attention(shapes)


def _read_manet(shapes: Shapes) -> Iterator[dict[str, Any]]:
    pab = shapes["decoder.center.top_conv.weight"][0]
    yield _channels(shapes, "decoder.blocks.{}.conv1.0.weight") | {"decoder_pab_channels": pab}


def _read_linknet(shapes: Shapes) -> Iterator[dict[str, Any]]:
    counted = _channels(shapes, "decoder.blocks.{}.block.0.0.weight")
    yield {key: value for key, value in counted.items() if key != "decoder_channels"}


def _depths(**arguments: Any) -> Iterator[dict[str, Any]]:
    """The same arguments with each depth of an encoder."""
    for depth in (5, 4, 3):
        yield {"encoder_depth": depth, **arguments}


def _read_fpn(shapes: Shapes) -> Iterator[dict[str, Any]]:
    pyramid = shapes["decoder.p5.weight"][0]
    segmentation = shapes["decoder.seg_blocks.0.block.0.block.0.weight"][0]
    policy = "add" if shapes["segmentation_head.0.weight"][1] == segmentation else "cat"
    yield from _depths(
        decoder_pyramid_channels=pyramid, decoder_segmentation_channels=segmentation, decoder_merge_policy=policy
    )


def _read_pspnet(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield from _depths(psp_out_channels=shapes["decoder.conv.0.weight"][0], **_normalized(shapes))


def _width(shapes: Shapes) -> int:
    """Channels that the head gets."""
    return shapes["segmentation_head.0.weight"][1]


def _read_pan(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield from _depths(decoder_channels=_width(shapes))


def _read_deeplab(shapes: Shapes) -> Iterator[dict[str, Any]]:
    separable = any(name.endswith("convs.1.0.1.weight") for name in shapes)
    yield from _depths(decoder_channels=_width(shapes), decoder_aspp_separable=separable)


def _read_upernet(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield from _depths(decoder_channels=_width(shapes), **_normalized(shapes))


def _read_segformer(shapes: Shapes) -> Iterator[dict[str, Any]]:
    yield from _depths(decoder_segmentation_channels=_width(shapes))


def _read_dpt(shapes: Shapes) -> Iterator[dict[str, Any]]:
    """Without tensors of a readout nothing tells whether the class token is added or ignored."""
    block, widths = "decoder.reassemble_blocks.{}.project_to_out_channel.weight", list[int]()
    while (shape := shapes.get(block.format(len(widths)))) is not None:
        widths.append(shape[0])
    has_readout = any(name.startswith("decoder.projection_blocks.") for name in shapes)
    for readout in ("cat",) if has_readout else ("ignore", "add"):
        yield {
            "encoder_depth": len(widths),
            "decoder_readout": readout,
            "decoder_intermediate_channels": tuple(widths),
            "decoder_fusion_channels": shapes["decoder.reassemble_blocks.0.project_to_feature_dim.weight"][0],
        }


TRACES = {
    "Unet": _Trace("decoder.blocks.0.conv1.0.weight", _read_unet),
    "UnetPlusPlus": _Trace("decoder.blocks.x_0_0.conv1.0.weight", _read_unet_plus_plus),
    "MAnet": _Trace("decoder.center.top_conv.weight", _read_manet),
    "Linknet": _Trace("decoder.blocks.0.block.0.0.weight", _read_linknet),
    "FPN": _Trace("decoder.p5.weight", _read_fpn),
    "PSPNet": _Trace("decoder.psp.blocks.0.pool.1.0.weight", _read_pspnet),
    "PAN": _Trace("decoder.fpa.branch1.1.conv.weight", _read_pan),
    "DeepLabV3": _Trace("decoder.aspp.convs.0.0.weight", _read_deeplab),
    "DeepLabV3Plus": _Trace("decoder.aspp.0.convs.0.0.weight", _read_deeplab),
    "UPerNet": _Trace("decoder.fpn_lateral_blocks.0.conv_norm_relu.0.weight", _read_upernet),
    "DPT": _Trace("decoder.fusion_blocks.0.project.weight", _read_dpt),
    "Segformer": _Trace("decoder.mlp_stage.0.linear.weight", _read_segformer),
}
"""Architectures of the library that are recognised."""
