"""Opened models: the same probabilities from every format, and one sentence for everything that does not fit."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoseg.catalog import find_model
from geoseg.errors import ModelError, WeightsError
from geoseg.models import SEMANTIC, Band, ClassSpec, ModelSpec, Scaling, load_model, smp, wrap

SPEC = ModelSpec(
    name="small",
    task="semantic-segmentation",
    bands=(Band("red"), Band("green"), Band("blue")),
    classes=(ClassSpec(0, "land"), ClassSpec(1, "water")),
    scalings=(Scaling("min-max", minimum=0, maximum=255),),
    multiple=4,
)


class Network(torch.nn.Module):
    """Two convolutions with a batch normalisation that training mode would change."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1)
        )
        self.layers[1].running_mean.uniform_(-1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(pixels)
        return scores


@pytest.fixture
def network() -> Network:
    torch.manual_seed(3)
    return Network()


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    mask = rng.random((2, 40, 32)) > 0.1
    return rng.integers(0, 256, (2, 3, 40, 32), dtype=np.uint8), mask


def expected(network: torch.nn.Module, pixels: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    """The same by plain torch in NCHW, with scaling and mask by numpy."""
    scaled = np.where(mask[:, None], pixels.astype(np.float32) / 255, 0).astype(np.float32)
    with torch.no_grad():
        scores: torch.Tensor = network.eval()(torch.from_numpy(scaled))
    return scores.softmax(1)


def save_onnx(network: torch.nn.Module, path: Path) -> None:
    axes = {"pixels": {0: "n", 2: "y", 3: "x"}, "scores": {0: "n", 2: "y", 3: "x"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, 32, 32),),
            str(path),
            input_names=["pixels"],
            output_names=["scores"],
            dynamic_axes=axes,
            dynamo=False,
        )


def save_torchscript(network: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network.eval()).save(str(path))


def save_exported(network: torch.nn.Module, path: Path) -> None:
    sizes = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("y", min=8), 3: torch.export.Dim("x", min=8)}
    program = torch.export.export(network.eval(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=(sizes,))
    torch.export.save(program, path)


FORMATS: dict[str, tuple[str, Callable[[torch.nn.Module, Path], None]]] = {
    "onnx": (".onnx", save_onnx),
    "torchscript": (".pt", save_torchscript),
    "torch.export": (".pt2", save_exported),
}


@pytest.mark.parametrize("framework", FORMATS)
def test_an_exported_network_predicts_what_the_network_predicts(
    framework: str, network: Network, batch: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    suffix, save = FORMATS[framework]
    save(network, tmp_path / f"network{suffix}")
    weights = str(tmp_path / f"network{suffix}")
    model = load_model(replace(SPEC, framework=framework, weights=weights, trust_model=True))
    result = model.predict(*batch)
    assert result.dtype == torch.float32
    assert result.device.type == "cpu"
    torch.testing.assert_close(result, expected(network, *batch), atol=1e-5, rtol=0)


def test_threads_open_exported_programs_at_the_same_time(network: Network, tmp_path: Path) -> None:
    """torch keeps the program that it reads in a global, and a second thread's reading fails."""
    save_exported(network, tmp_path / "network.pt2")
    spec = replace(SPEC, framework="torch.export", weights=str(tmp_path / "network.pt2"))
    start = threading.Barrier(4)

    def open_one(_: int) -> object:
        start.wait(30)
        return load_model(spec)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(open_one, range(4)))) == 4


def test_a_module_and_a_callable_predict_what_the_network_predicts(
    network: Network, batch: tuple[np.ndarray, np.ndarray]
) -> None:
    wanted = expected(network, *batch)
    torch.testing.assert_close(wrap(network.train(), SPEC).predict(*batch), wanted, atol=1e-5, rtol=0)
    network.eval()
    torch.testing.assert_close(wrap(lambda pixels: network(pixels), SPEC).predict(*batch), wanted, atol=1e-5, rtol=0)


def test_a_wrapped_module_predicts_in_evaluation_mode_and_is_left_in_its_own(
    network: Network, batch: tuple[np.ndarray, np.ndarray]
) -> None:
    result = wrap(network.train(), SPEC).predict(*batch)
    assert network.training
    assert not result.requires_grad
    assert torch.equal(result, wrap(network.eval(), SPEC).predict(*batch))


def test_predicting_twice_gives_the_same_bits(network: Network, batch: tuple[np.ndarray, np.ndarray]) -> None:
    model = wrap(network, SPEC)
    assert torch.equal(model.predict(*batch), model.predict(*batch))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_the_activation_is_the_specs(activation: Any, batch: tuple[np.ndarray, np.ndarray]) -> None:
    scores = torch.randn(2, 2, 40, 32)
    scores = scores.softmax(1) if activation == "none" else scores
    exponentials = np.exp(scores.numpy())
    wanted = {
        "softmax": exponentials / exponentials.sum(1, keepdims=True),
        "sigmoid": exponentials / (1 + exponentials),
        "none": scores.numpy(),
    }
    result = wrap(lambda _: scores, replace(SPEC, activation=activation)).predict(*batch)
    np.testing.assert_allclose(result.numpy(), wanted[activation], atol=1e-6)


def test_invalid_pixels_reach_the_network_as_zero(batch: tuple[np.ndarray, np.ndarray]) -> None:
    seen: list[torch.Tensor] = []

    def spy(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.clone())
        return pixels[:, :2]

    spec = replace(SPEC, scalings=(Scaling("z-score", mean=100, stddev=20),))
    wrap(spy, spec).predict(*batch)
    mask = torch.from_numpy(batch[1])[:, None].expand(-1, 3, -1, -1)
    assert (seen[0][~mask] == 0).all()
    assert (seen[0][mask] != 0).any()


def wrong(network: Callable[[torch.Tensor], Any], spec: ModelSpec = SPEC) -> str:
    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    with pytest.raises(ModelError) as caught:
        wrap(network, spec).predict(pixels, np.ones((1, 32, 32), np.bool_))
    return str(caught.value)


def test_a_network_with_other_classes_is_refused_with_both_shapes() -> None:
    message = wrong(lambda _: torch.zeros(1, 5, 32, 32))
    assert "(1, 5, 32, 32)" in message
    assert "(1, 2, 32, 32)" in message
    assert "5 classes" in message


def test_a_network_with_a_smaller_output_is_refused_with_the_remedy() -> None:
    message = wrong(lambda _: torch.zeros(1, 2, 8, 8))
    assert "(1, 2, 8, 8)" in message
    assert "(1, 2, 32, 32)" in message
    assert "resample" in message


def test_a_network_that_returns_no_tensor_is_refused() -> None:
    assert "dict" in wrong(lambda pixels: {"out": pixels})
    assert "(n, class, y, x)" in wrong(lambda pixels: pixels[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    assert "not finite" in wrong(lambda _: torch.full((1, 2, 32, 32), value))


def test_a_nan_in_a_later_tile_is_refused_too() -> None:
    results = iter([torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), torch.nan)])
    model = wrap(lambda _: next(results), SPEC)
    pixels, mask = np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 8, 8), np.bool_)
    model.predict(pixels, mask)
    with pytest.raises(ModelError, match="not finite"):
        model.predict(pixels, mask)


def test_scores_that_claim_to_be_probabilities_are_refused() -> None:
    message = wrong(lambda _: torch.full((1, 2, 32, 32), 7.0), replace(SPEC, activation="none"))
    assert "from 7 to 7" in message
    assert "softmax" in message


def test_an_error_inside_the_network_becomes_one_sentence_with_the_shape() -> None:
    message = wrong(torch.nn.Conv2d(5, 2, 1))
    assert "(1, 3, 32, 32)" in message
    assert "multiple" in message


def test_pixels_of_another_shape_are_refused() -> None:
    model = wrap(lambda pixels: pixels[:, :2], SPEC)
    with pytest.raises(ModelError, match="red, green, blue"):
        model.predict(np.zeros((1, 4, 8, 8), np.uint8), np.ones((1, 8, 8), np.bool_))
    with pytest.raises(ModelError, match="mask"):
        model.predict(np.zeros((1, 3, 8, 8), np.uint8), np.ones((1, 8, 9), np.bool_))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"framework": "onix", "weights": "x"}, "did you mean 'onnx'"),
        ({"framework": "pytorch", "architecture": "smq.Unet"}, "family of smp"),
        ({"task": "instance-segmentation", "architecture": "smp.Unet"}, "smp.Unet cannot"),
        ({"architecture": "smp.Unett"}, "did you mean 'Unet'"),
    ],
)
def test_a_spec_that_no_adapter_opens_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    spec = replace(SPEC, **{"weights": str(tmp_path / "a.safetensors"), **change})
    with pytest.raises(ModelError, match=words):
        load_model(spec)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="not a device"):
        wrap(lambda pixels: pixels, SPEC, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="not available"):
            wrap(lambda pixels: pixels, SPEC, device="cuda")


def test_what_cannot_be_called_is_not_a_model() -> None:
    with pytest.raises(ModelError, match="str is not a model"):
        wrap("model", SPEC)  # type: ignore[arg-type]


UNET = replace(
    SPEC,
    architecture="smp.Unet",
    multiple=8,
    hyperparameters=(
        ("decoder_channels", (32, 16, 8)),
        ("encoder_depth", 3),
        ("encoder_name", "resnet18"),
        ("epochs", 40),
    ),
)


@pytest.fixture
def unet(tmp_path: Path) -> tuple[ModelSpec, torch.nn.Module]:
    torch.manual_seed(1)
    network = smp.build(UNET)
    save_file(network.state_dict(), tmp_path / "unet.safetensors")
    return UNET.with_weights(tmp_path / "unet.safetensors"), network


def test_a_library_network_with_weights_from_a_file_predicts_what_it_did(
    unet: tuple[ModelSpec, torch.nn.Module], batch: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    spec, network = unet
    wanted = expected(network, *batch)
    torch.testing.assert_close(load_model(spec).predict(*batch), wanted, atol=1e-5, rtol=0)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "unet.pth")
    torch.testing.assert_close(
        load_model(spec.with_weights(tmp_path / "unet.pth")).predict(*batch), wanted, atol=1e-5, rtol=0
    )


def test_weights_of_another_network_are_refused_by_name_of_a_tensor(unet: tuple[ModelSpec, torch.nn.Module]) -> None:
    spec, _ = unet
    other = replace(spec, architecture="smp.FPN", hyperparameters=(("encoder_name", "resnet18"),))
    with pytest.raises(WeightsError, match=r"decoder\."):
        load_model(other)
    with pytest.raises(WeightsError, match=r"\(64, 3, 7, 7\) where \(64, 4, 7, 7\)"):
        load_model(replace(spec, bands=(*spec.bands, Band("nir"))))


def test_a_misspelt_hyperparameter_names_the_nearest(unet: tuple[ModelSpec, torch.nn.Module]) -> None:
    spec, _ = unet
    with pytest.raises(ModelError, match="did you mean 'encoder_name'"):
        load_model(replace(spec, hyperparameters=(("encoder_nam", "resnet18"),)))
    with pytest.raises(ModelError, match="correct mlm:hyperparameters"):
        load_model(replace(spec, hyperparameters=(("encoder_name", "resnet19"),)))


def test_pretrained_weights_are_never_asked_for(unet: tuple[ModelSpec, torch.nn.Module]) -> None:
    spec, _ = unet
    load_model(replace(spec, hyperparameters=(*spec.hyperparameters, ("encoder_weights", "imagenet"))))


def test_a_damaged_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"not a graph")
    with pytest.raises(WeightsError, match="not an ONNX model"):
        load_model(replace(SPEC, framework="onnx", weights=str(tmp_path / "a.onnx")))


def test_importing_the_package_loads_no_deep_learning_library() -> None:
    code = (
        "import sys, geoseg.catalog, geoseg.models; geoseg.catalog.list_models();"
        "assert not {'torch', 'onnxruntime', 'segmentation_models_pytorch', 'dask', 'rasterio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dynamic_world_equals_onnxruntime_on_the_same_input(shared_data: Path) -> None:
    import onnxruntime

    weights = shared_data / "weights" / "dynamicworld_forward.onnx"
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 6000, (1, 9, 64, 64), dtype=np.uint16)
    means = np.array([1.7417, 1.7261, 1.6798, 1.7735, 2.2892, 2.3829, 2.3829, 2.1952, 1.5548])
    deviations = np.array([2.0233, 2.0389, 2.1796, 2.2890, 2.6172, 2.7734, 2.7578, 2.7891, 2.4141])
    values = (np.log(pixels.transpose(0, 2, 3, 1) * 0.005 + 1) - means) / deviations
    powers = np.exp(values * 5 - 1)
    scaled = (powers / (powers + 1)).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    wanted = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: scaled})[0]).softmax(1)
    model = load_model(find_model("dynamic-world").with_weights(weights))
    result = model.predict(pixels, np.ones((1, 64, 64), np.bool_))
    torch.testing.assert_close(result, wanted, atol=1e-5, rtol=0)
    assert len(model.spec.classes) == 9


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"activation": "relu"}, "the activation of model 'm' is 'relu'; give softmax, sigmoid, none"),
        ({"task": "foo"}, "the task of model 'm' is 'foo'; give semantic-segmentation,"),
        ({"bands": ["red"]}, r"the bands of model 'm' hold 'red'; give each one as geoseg.Band\(\.\.\.\)"),
        ({"classes": ["a"]}, r"the classes of model 'm' hold 'a'; give each one as geoseg.ClassSpec\(\.\.\.\)"),
        ({"value_range": ((1, 2, 3),)}, "the value_range of model 'm' is .* give two numbers, or two a band"),
        ({"threshold": "0.5"}, "the threshold of model 'm' is '0.5'; give a number from 0 to 1"),
        ({"threshold": True}, "the threshold of model 'm' is True; give a number from 0 to 1"),
    ],
)
def test_a_spec_made_in_python_is_looked_at(changes: dict[str, Any], told: str) -> None:
    given = {"bands": (Band("red"),), "classes": (ClassSpec(0, "a"), ClassSpec(1, "b")), "task": SEMANTIC} | changes
    with pytest.raises(ModelError, match=told):
        ModelSpec("m", **given)


def test_one_range_of_values_is_that_of_all_bands() -> None:
    classes: Any = (ClassSpec(0, "a"), ClassSpec(1, "b"))
    given: Any = [(0, 255), ((0, 255),)]
    first, second = (ModelSpec("m", SEMANTIC, (Band("red"),), classes, value_range=pair) for pair in given)
    assert first == second
