"""Models of another deployment answer as if they were here: checks, errors, versions, deadlines."""

import asyncio
import pickle
from types import SimpleNamespace

import httpx
import pytest
import pytest_asyncio
from pydantic import ValidationError
from serving_fakes import POISON, GatedModel, MeanModel, MemoryStore, StoodInModel

from novacron.errors import NotReadyError
from serve_apps.app import DEPLOYMENT, SLOW_DEPLOYMENT, build
from serve_apps.config import AppConfig, BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.gateway import Gateway
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics
from serve_apps.resilience.guarded import GuardedAsking
from serve_apps.resilience.metrics import ResilienceMetrics
from serve_apps.settings.resilience import BreakerConfig, ResilienceConfig
from serve_apps.slow_models import ComposedHost, SlowHost

pytestmark = pytest.mark.asyncio
URL = "/v2/models/{}/infer"


def carried(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes


class Wire:
    """A handle: what it carries is pickled both ways, as between processes."""

    def __init__(self, slow):
        self.slow = slow

    async def describe(self):
        return carried(self.slow.describe())

    async def ask(self, *arguments):
        return carried(await self.slow.ask(*carried(arguments)))

    async def stand_in(self, *arguments):
        return carried(await self.slow.stand_in(*carried(arguments)))


@pytest_asyncio.fixture
async def composed():
    store = MemoryStore(light=MeanModel(), slow=MeanModel(factor=2.0))
    slow = ModelHost(store, ["slow"], BatchingConfig())
    await slow.load()
    host = ComposedHost(
        ModelHost(store, ["light"], BatchingConfig()), Wire(SlowHost(slow)), ["slow"]
    )
    metrics = MemoryMetrics()
    plane = DataPlane(host, LimitsConfig(), ServingMetrics(metrics))
    transport = httpx.ASGITransport(app=Gateway(plane), raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://novacron")
    return SimpleNamespace(
        store=store, slow=slow, host=host, plane=plane, client=client, metrics=metrics
    )


async def test_before_the_other_deployment_was_asked_nothing_is_ready(composed, infer_body):
    reply = await composed.client.post(URL.format("slow"), json=infer_body([[1, 3]]))

    assert composed.host.ready is False
    assert reply.status_code == 503


async def test_light_and_slow_models_answer_by_name_behind_one_ingress(composed, infer_body):
    await composed.host.load()

    light = await composed.client.post(URL.format("light"), json=infer_body([[1, 3]]))
    slow = await composed.client.post(URL.format("slow"), json=infer_body([[1, 3], [2, 4]]))

    assert composed.host.ready is True
    assert light.json()["outputs"][0]["data"] == [2.0]
    assert slow.json()["outputs"][0]["data"] == [4.0, 6.0]
    assert "predict;dur=" in slow.headers["server-timing"]
    assert composed.metrics.total("novacron_served_rows", "slow", "1") == 2
    metadata = (await composed.client.get("/v2/models/slow")).json()
    assert [one["name"] for one in metadata["inputs"]] == ["x_mbps", "path_class"]


@pytest.mark.parametrize(
    ("rows", "changes", "status", "words"),
    [
        ([[1, 3]], {"tensor": {"name": "x_kbps"}}, 400, "x_kbps"),
        ([[5000, 1]], {}, 400, "Mbit/s"),
        ([[999, 999]], {}, 400, "no row with mean 999"),
        ([[POISON, POISON]], {}, 500, "RuntimeError"),
    ],
)
async def test_a_refusal_of_either_side_arrives_with_its_own_status(
    composed, infer_body, rows, changes, status, words
):
    await composed.host.load()

    reply = await composed.client.post(URL.format("slow"), json=infer_body(rows, **changes))

    assert reply.status_code == status
    assert words in reply.json()["error"]


async def test_unknown_names_and_versions_list_the_models_of_both(composed, infer_body):
    await composed.host.load()

    name = await composed.client.post(URL.format("other"), json=infer_body([[1, 3]]))
    version = await composed.client.post("/v2/models/slow/versions/9/infer", json={})

    assert (name.status_code, version.status_code) == (404, 404)
    assert "light, slow" in name.json()["remedy"]


async def test_a_promoted_version_is_followed(composed, infer_body):
    await composed.host.load()
    composed.store.versions["slow"]["2"] = MeanModel(factor=10.0)
    composed.store.aliases["slow", "champion"] = "2"

    await composed.slow.refresh()
    await composed.host.refresh()
    reply = await composed.client.post(URL.format("slow"), json=infer_body([[1, 3]]))

    assert reply.json()["model_version"] == "2"
    assert reply.json()["outputs"][0]["data"] == [20.0]


async def test_while_the_other_deployment_is_silent_the_known_versions_stay(composed):
    await composed.host.load()

    async def silent():
        raise NotReadyError("gone")

    composed.host._link.describe = silent
    await composed.host.refresh()

    assert composed.host.ready is True


async def test_a_deadline_holds_on_the_other_side(infer_body):
    model = GatedModel()
    model.gate.set()
    store = MemoryStore(light=MeanModel(), slow=model)
    slow = ModelHost(store, ["slow"], BatchingConfig())
    await slow.load()
    host = ComposedHost(
        ModelHost(store, ["light"], BatchingConfig()), Wire(SlowHost(slow)), ["slow"]
    )
    await host.load()
    plane = DataPlane(host, LimitsConfig(), ServingMetrics(MemoryMetrics()))
    transport = httpx.ASGITransport(app=Gateway(plane))
    client = httpx.AsyncClient(transport=transport, base_url="http://novacron")
    model.gate.clear()

    asked = asyncio.create_task(
        client.post(URL.format("slow"), json=infer_body([[1, 3]]), headers={"X-Timeout-Ms": "50"})
    )
    reply = await asked
    model.gate.set()

    assert reply.status_code == 504


async def test_the_application_is_composed_of_two_deployments_where_slow_models_are_named():
    config = {"models": ["light"], "slow": {"models": ["capacity"]}}

    app = build(AppConfig.model_validate(config))
    alone = build(AppConfig(models=("light",)))

    (config_given, slow) = app._bound_deployment.init_args
    assert config_given.slow.models == ("capacity",)
    assert app._bound_deployment.name == DEPLOYMENT
    assert slow._bound_deployment.name == SLOW_DEPLOYMENT
    assert slow._bound_deployment._deployment_config.max_ongoing_requests == 64
    assert len(alone._bound_deployment.init_args) == 1


async def test_a_model_cannot_be_light_and_slow():
    with pytest.raises(ValidationError, match="is under models too"):
        AppConfig.model_validate({"models": ["a"], "slow": {"models": ["a@challenger"]}})


async def test_a_replica_that_leaves_waits_for_the_other_deployments_answers(composed, infer_body):
    await composed.host.load()
    gate, entered = asyncio.Event(), asyncio.Event()
    served = composed.host.get("slow")
    link, ask = composed.host._link, composed.host._link.ask

    async def held(*arguments):
        entered.set()
        await gate.wait()
        return await ask(*arguments)

    link.ask = held
    asked = asyncio.create_task(
        composed.client.post(URL.format("slow"), json=infer_body([[1, 3]]))
    )
    await entered.wait()
    leaving = asyncio.create_task(composed.host.drain())
    await asyncio.sleep(0.02)
    late = await composed.client.post(URL.format("slow"), json=infer_body([[1, 3]]))
    assert not leaving.done()
    gate.set()
    await leaving

    assert (await asked).status_code == 200
    assert late.status_code == 503
    assert served.batcher.running_s == 0.0


async def test_the_stand_in_of_a_slow_model_answers_from_over_there(infer_body):
    model = StoodInModel()
    store = MemoryStore(light=MeanModel(), slow=model)
    slow = ModelHost(store, ["slow"], BatchingConfig())
    await slow.load()
    host = ComposedHost(
        ModelHost(store, ["light"], BatchingConfig()), Wire(SlowHost(slow)), ["slow"]
    )
    await host.load()
    metrics = ServingMetrics(MemoryMetrics())
    asking = GuardedAsking(
        ResilienceConfig(slow_breaker=BreakerConfig(failures=2)),
        LimitsConfig(),
        ResilienceMetrics(metrics),
        slow_names=("slow",),
    )
    plane = DataPlane(host, LimitsConfig(), metrics, asking=asking)
    transport = httpx.ASGITransport(app=Gateway(plane), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://novacron") as client:
        replies = [
            await client.post(URL.format("slow"), json=infer_body([[POISON]])) for _ in range(4)
        ]

    assert [reply.status_code for reply in replies] == [200] * 4
    assert {reply.headers["x-novacron-fallback"] for reply in replies} == {"last_value"}
    assert asking.describe(host.get("slow"))["circuit"] == "open"
    assert model.stand_in.asked == 4
