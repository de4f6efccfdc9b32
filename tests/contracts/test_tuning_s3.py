"""A search kept in an S3-like store: begun, cut off, resumed and read back from there."""

import pytest
import registry_servers

from tuning.progress import Silent
from tuning.request import SearchRequest
from tuning.storage import Storage
from tuning.study import run_search

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def location(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with registry_servers.s3_server(tmp_path) as url:
        address = url.removeprefix("http://")
        yield f"s3://models/tune?endpoint_override={address}&scheme=http&region=us-east-1"


class KilledError(Exception):
    pass


class Dying(Silent):
    def ended(self, record, left_s):
        if record.spec.number == 3:
            raise KilledError


def test_a_search_in_an_object_store_is_resumed_and_nothing_runs_twice(
    location, tmp_path, monkeypatch
):
    notes = tmp_path / "notes"
    notes.touch()
    monkeypatch.setenv("TOY_NOTES", str(notes))
    request = SearchRequest(
        model="toy_objective:TOY", trials=6, seeds=(1, 2), finalists=1, engine="here",
        storage=location, save_every_s=0.0, with_report=False,
    )  # fmt: skip
    with pytest.raises(KilledError):
        run_search(request, Dying())

    outcome = run_search(request, Silent())

    assert outcome.is_finished
    assert sum(outcome.document["counts"].values()) == 6
    ended = [one.split(" ", 1)[1] for one in notes.read_text().splitlines() if " end " in one]
    assert len(ended) == len(set(ended))
    names = Storage.open(location).names()
    assert any(one.endswith("/results.json") for one in names)
    assert any(one.endswith("/config.yaml") for one in names)


def test_a_bucket_that_is_not_there_is_named_before_anything_runs(location):
    missing = location.replace("s3://models/", "s3://nowhere/")

    with pytest.raises(Exception, match="nowhere") as found:
        Storage.open(missing).check_writable()

    assert type(found.value).__name__ == "ConfigError"
