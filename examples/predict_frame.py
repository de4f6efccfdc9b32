"""Ask the endpoint for several paths at once: `python examples/predict_frame.py URL history.csv`.

Each column of the file is one path, each line one sample of its goodput in Mbit/s, oldest first.
"""

import sys

import pandas as pd

from novacron.errors import NovacronError
from serve_apps.client import Client


def main() -> int:
    """Print the forecast of every path, or what was wrong with the request."""
    history_mbps = pd.read_csv(sys.argv[2], dtype=float)
    paths = pd.DataFrame(
        {"bandwidth_mbps": [history_mbps[path].tolist() for path in history_mbps]},
        index=history_mbps.columns,
    )
    with Client(sys.argv[1]) as client:
        try:
            answer = client.predict("bandwidth", paths)
        except NovacronError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    print(f"{answer.model_name} version {answer.model_version}")
    print(answer.to_frame(index=paths.index).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
