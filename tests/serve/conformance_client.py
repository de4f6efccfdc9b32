"""Asks the endpoint by an unmodified tritonclient, inside the environment that has it.

`python conformance_client.py HTTP_ADDRESS GRPC_ADDRESS` reads `{"rows": [...], "texts": [...]}`
from stdin and prints one JSON object; numbers go out as hex of their bytes, to compare bits.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

MODEL = "bandwidth"


def application():
    """Of several applications behind one gRPC port, Serve takes the one that the metadata names.

    A new dict each time, because the HTTP client writes into it.
    """
    return {"headers": {"application": "novacron"}}


def tensors(kind, rows, texts, **binary):
    values = kind.InferInput("bandwidth_mbps", list(rows.shape), "FP64")
    values.set_data_from_numpy(rows, **binary)
    classes = kind.InferInput("path_class", [len(texts)], "BYTES")
    classes.set_data_from_numpy(np.array(texts, dtype=object), **binary)
    return [values, classes]


def outputs(kind, **binary):
    return [kind.InferRequestedOutput(name, **binary) for name in ("value_mbps", "fallback")]


def shown(result):
    fallback = result.as_numpy("fallback")
    texts = [text.decode() if isinstance(text, bytes) else text for text in fallback.tolist()]
    return {
        "value": result.as_numpy("value_mbps").tobytes().hex(),
        "fallback": texts,
        "version": result.get_response(as_json=True)["model_version"]
        if isinstance(result, over_grpc.InferResult)
        else result.get_response()["model_version"],
    }


def facts(client, **as_json):
    metadata = client.get_model_metadata(MODEL, **as_json, **application())
    return {
        "live": client.is_server_live(**application()),
        "ready": client.is_server_ready(**application()),
        "model_ready": client.is_model_ready(MODEL, **application()),
        "server": client.get_server_metadata(**as_json, **application())["name"],
        "model": metadata["inputs"][0]["name"],
    }


def refusals(kind, client, rows, texts, **binary):
    right, wrong = (tensors(kind, rows, texts, **binary) for _ in range(2))
    wrong[0].set_shape([rows.shape[0], 1])
    nan = tensors(kind, np.where(rows > -1, np.nan, rows), texts)
    calls = {
        "other model": lambda: client.infer("other", right, **application()),
        "other version": lambda: client.infer(MODEL, right, model_version="99", **application()),
        "wrong shape": lambda: client.infer(MODEL, wrong, **application()),
        "nan": lambda: client.infer(MODEL, nan, **application()),
        "no such metadata": lambda: client.get_model_metadata("other", **application()),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = ["answered", ""]
        except InferenceServerException as error:
            found[name] = [str(error.status()), error.message()]
    return found


def main():
    asked = json.load(sys.stdin)
    rows, texts = np.array(asked["rows"], dtype=np.float64), asked["texts"]
    http = over_http.InferenceServerClient(sys.argv[1])
    grpc = over_grpc.InferenceServerClient(sys.argv[2])
    plain, binary = {"binary_data": False}, {"binary_data": True}

    def ask(sent, wanted, **packing):
        return shown(
            http.infer(MODEL, tensors(over_http, rows, texts, **sent), **wanted, **packing)
        )

    def over(wanted):
        asked_for = tensors(over_grpc, rows, texts)
        return shown(grpc.infer(MODEL, asked_for, **wanted, **application()))

    report = {
        "http facts": facts(http),
        "grpc facts": facts(grpc, as_json=True),
        "answers": {
            "json": ask(plain, {"outputs": outputs(over_http, **plain)}),
            "binary": ask(binary, {"outputs": outputs(over_http, **binary)}),
            "binary of json": ask(plain, {"outputs": outputs(over_http, **binary)}),
            "json of binary": ask(binary, {"outputs": outputs(over_http, **plain)}),
            "default outputs": ask(binary, {}),
            "gzip": ask(binary, {}, request_compression_algorithm="gzip"),
            "deflate": ask(binary, {}, request_compression_algorithm="deflate"),
            "grpc": over({}),
            "grpc outputs": over({"outputs": outputs(over_grpc)}),
        },
        "http refusals": refusals(over_http, http, rows, texts, **binary),
        "grpc refusals": refusals(over_grpc, grpc, rows, texts),
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
