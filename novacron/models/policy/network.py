"""A small multilayer perceptron as arrays, and its ONNX file: what training hands to serving.

Shape legend: N rows, I inputs, J outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, MissingDependencyError, SchemaError

Float32 = NDArray[np.float32]

INPUT: Final = "x"
OUTPUT: Final = "y"
OPSET: Final = 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Perceptron:
    """Affine layers with tanh between them; the last is linear.

    `layers` has a weight [out, in] and a bias [out] for each.
    """

    layers: tuple[tuple[Float32, Float32], ...]

    def __post_init__(self) -> None:
        """Refuse layers that do not fit together."""
        for number, (weight, bias) in enumerate(self.layers):
            before = self.layers[number - 1][0].shape[0] if number else weight.shape[-1]
            if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != before:
                raise SchemaError(
                    field=f"layers[{number}]",
                    got=(weight.shape, bias.shape),
                    expected=f"[out, {before}] and [out]",
                )

    @property
    def inputs(self) -> int:
        """I."""
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        """J."""
        return int(self.layers[-1][0].shape[0])

    def __call__(self, x_NI: Float32) -> Float32:
        """Return y_NJ."""
        y = np.asarray(x_NI, dtype=np.float32)
        for number, (weight, bias) in enumerate(self.layers):
            y = y @ weight.T + bias
            if number + 1 < len(self.layers):
                y = np.tanh(y)
        return y


def write_onnx(network: Perceptron, path: Path) -> None:
    """Write a network with a free number of rows.

    Raises:
        MissingDependencyError: The `onnx` extra is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper, save_model
    except ImportError as cause:
        raise MissingDependencyError(
            "Writing a policy needs the onnx package.", remedy="pip install 'novacron-ml[onnx]'"
        ) from cause
    nodes: list[Any] = []
    values: list[Any] = []
    name = INPUT
    for number, (weight, bias) in enumerate(network.layers):
        last = number + 1 == len(network.layers)
        values.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        values.append(numpy_helper.from_array(bias.astype(np.float32), f"b{number}"))
        out = OUTPUT if last else f"h{number}"
        nodes.append(helper.make_node("Gemm", [name, f"w{number}", f"b{number}"], [out], transB=1))
        if not last:
            nodes.append(helper.make_node("Tanh", [out], [f"a{number}"]))
            name = f"a{number}"
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", network.inputs])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", network.outputs])],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)


class OnnxNetwork:
    """A network file run by onnxruntime on one thread.

    Args:
        path: The file.
        inputs: Numbers in a row that this code will give it.
        outputs: Numbers that it has to answer with.

    Raises:
        ArtifactError: The file is not ONNX, or a network of another shape.
    """

    def __init__(self, path: Path, *, inputs: int, outputs: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            shapes = [
                list(each[0].shape)[1:]
                for each in (self._session.get_inputs(), self._session.get_outputs())
            ]
        except Exception as cause:  # onnxruntime raises classes of its own, without a base
            raise ArtifactError(
                f"{path.name} is not a readable ONNX network: {cause}.",
                remedy="Train and register the policy again.",
            ) from cause
        if shapes != [[inputs], [outputs]]:
            raise ArtifactError(
                f"{path.name} maps {shapes[0]} to {shapes[1]} numbers, expected {inputs} to "
                f"{outputs}.",
                remedy="Train and register the policy again.",
            )

    def __call__(self, x_NI: Float32) -> Float32:
        """Return y_NJ."""
        answer: Float32 = self._session.run(
            [OUTPUT], {INPUT: np.ascontiguousarray(x_NI, np.float32)}
        )[0]
        return answer


def from_torch(layers: Sequence[Any]) -> Perceptron:
    """Return the weights of torch linear layers, in order."""
    return Perceptron(
        layers=tuple(
            (
                layer.weight.detach().cpu().numpy().astype(np.float32).copy(),
                layer.bias.detach().cpu().numpy().astype(np.float32).copy(),
            )
            for layer in layers
        )
    )
