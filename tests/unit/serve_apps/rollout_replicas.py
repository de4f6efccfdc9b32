"""Replicas with everything but Ray, on a clock of their own, for tests of rollouts."""

from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, MemoryStore

from novacron.errors import NotReadyError
from novacron.monitoring.rollouts.folder import Kill, RolloutFolder
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import start
from novacron.registry.records import Audit
from serve_apps.asking import PlainAsking
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics
from serve_apps.rollout.agent import RolloutAgent
from serve_apps.rollout.conductor import Conductor
from serve_apps.rollout.routes import RolloutRoutes
from serve_apps.rollout.shadow import ShadowComparison
from serve_apps.rollout.tally import ReplicaTally
from serve_apps.rollout.traffic import RolloutTraffic

URL = "/v2/models/mean/infer"
AUDIT = Audit(who="me", at=datetime(2026, 5, 4, tzinfo=UTC), why="better")
# No gate on latency: that of a test says how busy the machine is.
PLAN = RolloutPlan(
    window_s=5, min_requests=20, min_compared=5, compare_share=1.0, p95_ratio_limit=100
)
KILL = Kill(mode="stable", who="me", why="it burns", at_s=1.0)
STOP = Kill(mode="stop", who="me", why="it burns", at_s=1.0)


class Registry(MemoryStore):
    """A registry that can be cut off, as the host and the conductor see it."""

    is_down = False

    def resolve(self, name, ref):
        if self.is_down:
            raise NotReadyError("The registry does not answer.")
        return super().resolve(name, ref)

    def champion(self, name):
        return self.resolve(name, "champion")

    def appoint(self, name, version, *, audit, note):
        self.resolve(name, version)
        self.aliases[name, "champion"] = version
        return True


class Replica:
    """One replica with everything but Ray, on a clock of its own."""

    def __init__(self, store, root, clock, name="a", seed=0, recorder=None):
        self.store, self.clock = store, clock
        rng = np.random.default_rng(seed)
        self.metrics = MemoryMetrics()
        self.folder = RolloutFolder(root)
        self.host = ModelHost(store, ["mean"], BatchingConfig())
        self.traffic = RolloutTraffic(self.host, rng.random)
        self.tally = ReplicaTally()
        asking = PlainAsking(LimitsConfig())
        self.shadow = ShadowComparison(
            self.host, asking, self.tally, uniform=rng.random, recorder=recorder
        )
        self.agent = RolloutAgent(
            self.host,
            self.folder,
            self.traffic,
            self.tally,
            Conductor(self.folder, store, clock),
            replica=name,
            library=self.metrics,
            clock=clock,
        )
        self.plane = DataPlane(
            self.host,
            LimitsConfig(),
            ServingMetrics(MemoryMetrics()),
            asking=asking,
            recorder=recorder,
            chooser=self.traffic,
            observers=[self.tally.observe, self.shadow.observe],
        )
        transport = httpx.ASGITransport(app=Gateway(self.plane), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://novacron")

    async def look(self):
        self.clock.now_s += 1.0
        await self.agent.look()
        await self.agent.settle()
        await self.shadow.settle()

    async def ask(self, n=1, key=None, value=2.0):
        body = {
            "inputs": [{"name": "x_mbps", "shape": [1, 1], "datatype": "FP64", "data": [value]}]
        }
        headers = {} if key is None else {"X-NovaCron-Key": key}
        replies = [await self.client.post(URL, json=body, headers=headers) for _ in range(n)]
        return [(r.status_code, r.json().get("model_version")) for r in replies]

    async def run(self, looks=60, n=40):
        """Ask and look until the rollout has ended; return it."""
        for _ in range(looks):
            await self.ask(n)
            await self.look()
            rollout = self.folder.get("mean")
            if not rollout.is_live:
                break
        await self.look()
        return rollout


class Clock:
    def __init__(self):
        self.now_s = 1_000.0

    def __call__(self):
        return self.now_s


def begin(replica, ref="challenger", plan=PLAN):
    return start(replica.folder, replica.store.resolve, "mean", ref, plan, AUDIT)


def versions(replies):
    assert {status for status, _ in replies} == {200}
    return [version for _, version in replies]


class Notes:
    """A recorder that keeps who answered under which id."""

    def __init__(self):
        self.told = []
        self.count = 0

    def new_id(self):
        self.count += 1
        return f"p{self.count}"

    def record(self, served, request, answer, timing, *, role="champion"):
        self.told.append((answer.prediction_id, served.version, role))


def served_over_http(replica, tmp_path, desk=None, address="127.0.0.1"):
    routes = RolloutRoutes(replica.folder, replica.agent, lambda: replica.host.names)
    site = Site(replica.plane, tmp_path / "feedback", extensions=[routes])
    app = Gateway(replica.plane, site=site, desk=desk)
    transport = httpx.ASGITransport(app=app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://novacron")


@pytest.fixture
def rollout_registry():
    made = Registry(mean=MeanModel())
    made.versions["mean"]["2"] = MeanModel()
    made.aliases["mean", "challenger"] = "2"
    return made


@pytest.fixture
def make_replica(rollout_registry, tmp_path):
    clock, made = Clock(), []

    def make(name="a", seed=0, recorder=None):
        made.append(Replica(rollout_registry, tmp_path / "rollouts", clock, name, seed, recorder))
        return made[-1]

    yield make
    for replica in made:
        replica.agent._leadership.give_up()


@pytest_asyncio.fixture
async def replica(make_replica):
    made = make_replica()
    await made.host.load()
    return made
