"""LightGBM's trees as an ONNX graph in double precision, for ONNX Runtime to walk.

Only what has an exact counterpart is converted: numeric splits `x <= threshold`, leaves that are
summed, an objective whose answer is that sum. Anything else stays with LightGBM.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

OPSET: Final = 5
_SUM: Final = 1
_AT_MOST: Final = 0
"""The operator's numbers for adding leaves up and for `x <= threshold`."""
_SUMMED: Final = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "custom")
"""Objectives whose answer is the sum of the leaves, with nothing done to it."""


def find_obstacle(booster: Any) -> str:
    """Return why a booster cannot be converted exactly; empty where it can."""
    told = booster.dump_model(num_iteration=1)
    objective = str(told.get("objective", "")).split(" ")
    if objective[0] not in _SUMMED or "sqrt" in objective:
        return f"objective {told.get('objective')!r} does something to the sum of the leaves"
    if told["num_tree_per_iteration"] != 1 or told.get("average_output"):
        return "several trees answer together"
    for tree in booster.dump_model()["tree_info"]:
        for node in _nodes(tree["tree_structure"]):
            if "leaf_coeff" in node:
                return "leaves are linear models"
            if "leaf_value" in node:
                continue
            if node["decision_type"] != "<=" or node.get("missing_type") == "Zero":
                return "a split is categorical, or takes zero for missing"
    return ""


def to_onnx(booster: Any) -> bytes:
    """Convert a booster that has no obstacle; input `x` of doubles, output `y`."""
    from onnx import TensorProto, helper, numpy_helper

    trees = _Trees()
    for tree in booster.dump_model()["tree_info"]:
        trees.add(tree["tree_structure"])
    modes = np.full(len(trees.splits), _AT_MOST, dtype=np.uint8)
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        tree_roots=trees.roots,
        nodes_modes=numpy_helper.from_array(modes, "modes"),
        nodes_splits=numpy_helper.from_array(np.array(trees.splits), "splits"),
        leaf_weights=numpy_helper.from_array(np.array(trees.weights), "weights"),
        leaf_targetids=[0] * len(trees.weights),
        **{f"nodes_{name}": column for name, column in trees.columns.items()},
    )
    double = TensorProto.DOUBLE
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", double, [None, booster.num_feature()])],
        [helper.make_tensor_value_info("y", double, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


class _Trees:
    """The splits and leaves of all trees as the parallel lists that the operator takes."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.splits: list[float] = []
        self.weights: list[float] = []
        names = ("featureids", "truenodeids", "trueleafs", "falsenodeids", "falseleafs")
        self.columns: dict[str, Any] = {name: [] for name in names}

    def add(self, root: Mapping[str, Any]) -> None:
        """Add a tree: its splits numbered as they are met, its leaves by themselves."""
        self.roots.append(len(self.splits))
        splits = [node for node in _nodes(root) if "leaf_value" not in node]
        if not splits:
            # The operator's trees begin with a split: one whose sides are the same leaf.
            splits = [
                {"split_feature": 0, "threshold": 0.0, "left_child": root, "right_child": root}
            ]
        places = {id(node): self.roots[-1] + place for place, node in enumerate(splits)}
        for node in splits:
            self.splits.append(float(node["threshold"]))
            self.columns["featureids"].append(int(node["split_feature"]))
            for side, child in (("true", node["left_child"]), ("false", node["right_child"])):
                is_leaf = "leaf_value" in child
                self.columns[f"{side}leafs"].append(int(is_leaf))
                target = self._leaf(child) if is_leaf else places[id(child)]
                self.columns[f"{side}nodeids"].append(target)

    def _leaf(self, leaf: Mapping[str, Any]) -> int:
        self.weights.append(float(leaf["leaf_value"]))
        return len(self.weights) - 1


def _nodes(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if "leaf_value" not in node:
            waiting += [node["right_child"], node["left_child"]]
