"""How many replicas the load asks for, requests that Serve itself does not see included.

Serve's controller runs it: it is sent there whole, and imports nothing of this package.
"""

import math
from typing import Any, Final

IN_FLIGHT: Final = "short_path_in_flight"
"""Key under which a replica tells the requests that it answers by `serve_apps.short_path`."""


def by_requests_in_flight(context: Any) -> tuple[float, dict[str, Any]]:
    """Return the replicas that bring each to its target of requests in flight.

    Args:
        context: Serve's `AutoscalingContext`; delays and bounds of its settings are applied by
            Serve afterwards.
    """
    if context.current_num_replicas == 0:
        return context.target_num_replicas, {}
    told = (context.aggregated_metrics or {}).get(IN_FLIGHT) or {}
    in_flight = context.total_num_requests + math.fsum(told.values())
    return in_flight / context.config.get_target_ongoing_requests(), {}
