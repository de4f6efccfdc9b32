"""Asks the endpoint by an unmodified kserve client, inside the environment that has it.

`python kserve_client.py HTTP_ADDRESS GRPC_ADDRESS` reads `{"rows": [...], "texts": [...]}` from
stdin and prints one JSON object; numbers go out as hex of their bytes, to compare bits.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)

MODEL = "bandwidth"


def request_of(rows, texts, *, binary):
    values = InferInput("bandwidth_mbps", list(rows.shape), "FP64")
    values.set_data_from_numpy(rows, binary_data=binary)
    classes = InferInput("path_class", [len(texts)], "BYTES")
    classes.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
    return InferRequest(model_name=MODEL, infer_inputs=[values, classes])


def shown(response):
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    texts = outputs["fallback"].tolist()
    return {
        "value": outputs["value_mbps"].tobytes().hex(),
        "fallback": [text.decode() if isinstance(text, bytes) else text for text in texts],
        "version": response.model_version,
    }


async def ask(http_address, grpc_address, rows, texts):
    base = f"http://{http_address}"
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    grpc = InferenceGRPCClient(grpc_address)
    try:
        asked = {
            way: request_of(rows, texts, binary=way == "binary") for way in ("json", "binary")
        }
        return {
            "facts": {
                "live": await rest.is_server_live(base),
                "ready": await rest.is_server_ready(base),
                "model_ready": await rest.is_model_ready(base, MODEL),
                "grpc live": await grpc.is_server_live(),
                "grpc ready": await grpc.is_server_ready(),
                "grpc model_ready": await grpc.is_model_ready(MODEL),
            },
            "answers": {
                **{
                    way: shown(await rest.infer(base, data, model_name=MODEL))
                    for way, data in asked.items()
                },
                "grpc": shown(await grpc.infer(request_of(rows, texts, binary=True))),
            },
        }
    finally:
        await rest.close()
        await grpc.close()


def main():
    asked = json.load(sys.stdin)
    rows = np.array(asked["rows"], dtype=np.float64)
    json.dump(asyncio.run(ask(*sys.argv[1:3], rows, asked["texts"])), sys.stdout)


if __name__ == "__main__":
    main()
