import pytest

from ray_jobs.demo_models import cold_answers


@pytest.fixture(scope="module")
def rows():
    return {row["model"]: row for row in cold_answers()}


def test_every_model_that_needs_no_training_answers_by_itself(rows):
    assert set(rows) == {"anomaly", "capacity", "scaling", "optimizer"}
    assert all(row["fallback"] == "" and row["answer"] for row in rows.values())


def test_the_alert_stands_where_the_cause_was_put(rows):
    moment = rows["anomaly"]["asked"].split("from ")[1]

    assert rows["anomaly"]["answer"].endswith(moment)


def test_growth_towards_the_threshold_is_foretold(rows):
    assert "to reach 0.75" in rows["capacity"]["answer"]


def test_spare_capacity_is_given_back(rows):
    assert rows["scaling"]["answer"].startswith("scale_down")


def test_an_improvement_is_told_with_its_interval_and_its_kind_of_evidence(rows):
    assert "simulated" in rows["optimizer"]["answer"]
