import asyncio
import dataclasses

import numpy as np
import pytest
from serving_fakes import GatedModel, MeanModel, build_service

from novacron.errors import (
    ArtifactError,
    FeatureMismatchError,
    ModelNotFoundError,
    NotReadyError,
)
from serve_apps.load_checks import check_loaded, probe_tensors

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


async def test_a_model_is_found_by_name_and_by_version(service, mean_model):
    assert service.host.get("mean").model is mean_model
    assert service.host.get("mean", "1").version == "1"
    assert service.host.names == ("mean",)
    assert service.host.versions("mean") == ("1",)


async def test_an_unknown_model_or_version_names_what_is_served(service):
    with pytest.raises(ModelNotFoundError, match="Served: mean"):
        service.host.get("other")
    with pytest.raises(ModelNotFoundError, match="Served: 1"):
        service.host.get("mean", "2")


async def test_several_models_and_two_versions_of_one_live_in_one_host(infer_body):
    service = build_service(
        {"mean": MeanModel(), "other": MeanModel(factor=3)}, ["mean", "mean@challenger", "other"]
    )
    service.store.versions["mean"]["2"] = MeanModel(factor=2)
    service.store.aliases["mean", "challenger"] = "2"
    await service.host.load()

    answers = [
        (await service.client.post(url, json=infer_body([[1, 3]]))).json()
        for url in (URL, "/v2/models/mean/versions/2/infer", "/v2/models/other/infer")
    ]

    assert [a["outputs"][0]["data"] for a in answers] == [[2.0], [4.0], [6.0]]
    assert service.host.versions("mean") == ("1", "2")


async def test_a_host_is_ready_only_when_every_model_is_loaded():
    service = build_service({"mean": MeanModel()}, ["mean", "absent"])

    with pytest.raises(ModelNotFoundError):
        await service.host.load()

    assert not service.host.ready
    with pytest.raises(NotReadyError):
        service.host.get("absent")


async def test_a_moved_alias_swaps_the_new_version_in(service, infer_body):
    service.store.versions["mean"]["2"] = MeanModel(factor=10)
    service.store.aliases["mean", "champion"] = "2"

    changed = await service.host.refresh()
    again = await service.host.refresh()
    response = await service.client.post(URL, json=infer_body([[1, 3]]))

    assert (changed, again) == (("mean",), ())
    assert response.json()["model_version"] == "2"
    assert response.json()["outputs"][0]["data"] == [20.0]


async def test_requests_in_flight_during_a_swap_are_answered_by_the_old_version(infer_body):
    old = GatedModel()
    old.gate.set()
    service = build_service({"mean": old}, ["mean"])
    await service.host.load()
    old.gate.clear()
    old.entered.clear()
    in_flight = asyncio.create_task(service.client.post(URL, json=infer_body([[1, 3]])))
    assert await asyncio.to_thread(old.entered.wait, 10)
    service.store.versions["mean"]["2"] = MeanModel(factor=10)
    service.store.aliases["mean", "champion"] = "2"

    refreshing = asyncio.create_task(service.host.refresh())
    while service.host.get("mean").version == "1":
        await asyncio.sleep(0)
    newer = await service.client.post(URL, json=infer_body([[1, 3]]))
    await refreshing
    old.gate.set()

    assert (await in_flight).json()["model_version"] == "1"
    assert newer.json()["model_version"] == "2"


@pytest.mark.parametrize("failure", ["broken", "gone", "registry down"])
async def test_a_new_version_that_fails_leaves_the_old_one_serving(service, failure, caplog):
    if failure == "registry down":
        service.store.resolve = None
    elif failure == "broken":
        service.store.versions["mean"]["2"] = MeanModel(features_hash="other")
    service.store.aliases["mean", "champion"] = "2"

    changed = await service.host.refresh()

    assert changed == ()
    assert service.host.ready
    assert service.host.get("mean").version == "1"
    assert "kept the old version of mean" in caplog.text


async def test_a_call_that_hangs_makes_the_replica_unhealthy(infer_body):
    model = GatedModel()
    model.gate.set()
    service = build_service({"mean": model}, ["mean"])
    await service.host.load()
    service.host.check_health(max_call_s=60)
    model.gate.clear()
    model.entered.clear()
    hanging = asyncio.create_task(service.client.post(URL, json=infer_body([[1]])))
    assert await asyncio.to_thread(model.entered.wait, 10)

    with pytest.raises(NotReadyError, match="has run for"):
        service.host.check_health(max_call_s=0)

    model.gate.set()
    await hanging
    service.host.check_health(max_call_s=0)


async def test_a_model_of_other_features_than_its_card_says_is_refused(mean_model):
    with pytest.raises(FeatureMismatchError):
        check_loaded(mean_model, "0" * 16, "mean")


def without_fallback(rows):
    return {"mean_mbps": rows["mean"][:, None]}


def not_finite(rows):
    return {"mean_mbps": rows["mean"][:, None] * np.nan, "fallback": rows["mean"].astype(object)}


def mixing_rows(rows):
    value = rows["mean"] - rows["mean"].mean()
    return {"mean_mbps": value[:, None], "fallback": np.full(len(value), "", dtype=object)}


def wrong_datatype(rows):
    value = rows["mean"][:, None].astype(np.float32)
    return {"mean_mbps": value, "fallback": np.full(len(value), "", dtype=object)}


@pytest.mark.parametrize("predict", [without_fallback, not_finite, mixing_rows, wrong_datatype])
async def test_a_model_whose_answers_break_its_specs_is_refused(mean_model, predict):
    mean_model.predict = predict

    with pytest.raises(ArtifactError):
        check_loaded(mean_model, mean_model.features_hash, "mean")


async def test_a_probe_is_the_same_every_time_and_within_the_bounds(mean_model):
    narrow = dataclasses.replace(mean_model.inputs[0], low=5, high=6)

    first, second = probe_tensors((narrow,)), probe_tensors((narrow,))

    np.testing.assert_array_equal(first["x_mbps"], second["x_mbps"])
    assert first["x_mbps"].min() >= 5
    assert first["x_mbps"].max() <= 6
