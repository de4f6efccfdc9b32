import pickle

import pytest

from novacron import errors

EXAMPLES = [
    errors.NovacronError("It broke.", remedy="Mend it."),
    errors.OutOfRangeError(field="rtt_ms", got=-3.0, expected="[0, 60000]", remedy="Check units."),
    errors.OverloadedError("The queue is full.", retry_after_s=0.5),
    errors.ModelNotFoundError("No such model."),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_arrives_from_another_process_as_it_was_raised(error):
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.to_dict() == error.to_dict()
