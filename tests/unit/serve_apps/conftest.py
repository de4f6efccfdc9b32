import pytest
import pytest_asyncio
from serving_fakes import GatedModel, MeanModel, build_service


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
    def make(rows, **extra):
        x_mbps = {
            "name": "x_mbps",
            "shape": [len(rows), len(rows[0])],
            "datatype": "FP64",
            "data": rows,
        }
        return {"inputs": [x_mbps | extra.pop("tensor", {})]} | extra

    return make


@pytest_asyncio.fixture
async def service(mean_model):
    built = build_service({"mean": mean_model}, ["mean"])
    await built.host.load()
    return built
