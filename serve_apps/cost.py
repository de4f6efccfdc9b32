"""What a model call costs, learnt from the calls that were made."""


class CostModel:
    """Predicts the seconds of a model call from its rows: a line fitted to recent calls.

    Exponentially weighted least squares over (rows, seconds); slope and intercept never negative.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self._decay = decay
        self._weight = self._rows = self._seconds = self._rows_rows = self._rows_seconds = 0.0
        self.n_calls = 0

    def observe(self, n_rows: int, seconds: float) -> None:
        """Take one finished call into account."""
        keep = self._decay
        self.n_calls += 1
        self._weight = keep * self._weight + 1.0
        self._rows = keep * self._rows + n_rows
        self._seconds = keep * self._seconds + seconds
        self._rows_rows = keep * self._rows_rows + n_rows * n_rows
        self._rows_seconds = keep * self._rows_seconds + n_rows * seconds

    def predict_s(self, n_rows: int) -> float:
        """Return the expected seconds of one call; 0 before any call was seen."""
        if not self._weight:
            return 0.0
        mean_rows, mean_s = self._rows / self._weight, self._seconds / self._weight
        variance = self._rows_rows / self._weight - mean_rows**2
        covariance = self._rows_seconds / self._weight - mean_rows * mean_s
        # All calls of one size say nothing of the slope: then the time is taken as per row.
        slope = mean_s / mean_rows if variance < 1e-9 else covariance / variance
        slope = min(max(slope, 0.0), mean_s / mean_rows)
        return mean_s + slope * (n_rows - mean_rows)
