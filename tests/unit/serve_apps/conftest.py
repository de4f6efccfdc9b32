import pytest
import pytest_asyncio
from memory_services import begin, memory_models, start_services
from rollout_replicas import make_replica, replica, rollout_registry
from serving_fakes import GatedModel, MeanModel, build_service, infer_document

__all__ = [
    "begin",
    "make_replica",
    "memory_models",
    "replica",
    "rollout_registry",
    "start_services",
]


@pytest.fixture
def mean_model():
    return MeanModel()


@pytest.fixture
def gated_model():
    model = GatedModel()
    yield model
    model.gate.set()


@pytest.fixture
def make_service():
    return build_service


@pytest.fixture
def infer_body():
    return infer_document


@pytest_asyncio.fixture
async def service(mean_model):
    built = build_service({"mean": mean_model}, ["mean"])
    await built.host.load()
    return built
