"""Ask the endpoint for a forecast: `python examples/infer.py http://127.0.0.1:8000 12.1 11.8 9.7`.

The numbers are the recent goodput of one path in Mbit/s, oldest first.
"""

import sys
import time

import httpx

MODEL = "bandwidth"


def ask(client: httpx.Client, samples_mbps: list[float], attempts: int = 3) -> httpx.Response:
    """Send one path's history; wait and ask again while the endpoint says it is overloaded."""
    tensor = {
        "name": "bandwidth_mbps",
        "shape": [1, len(samples_mbps)],
        "datatype": "FP64",
        "data": samples_mbps,
    }
    for _ in range(attempts):
        reply = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": [tensor]})
        if reply.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        time.sleep(float(reply.headers.get("retry-after", "1")))
    return reply


def main() -> int:
    """Print every output of the answer, or what was wrong with the request."""
    samples_mbps = [float(sample) for sample in sys.argv[2:]]
    try:
        with httpx.Client(base_url=sys.argv[1], timeout=30) as client:
            reply = ask(client, samples_mbps)
    except httpx.TransportError as error:
        print(f"The endpoint does not answer: {error}", file=sys.stderr)
        return 1
    document = reply.json()
    if reply.is_error:
        print(f"{reply.status_code}: {document['error']}", file=sys.stderr)
        return 1
    print(f"{document['model_name']} version {document['model_version']}")
    for output in document["outputs"]:
        print(f"{output['name']} {output['shape']}: {output['data']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
