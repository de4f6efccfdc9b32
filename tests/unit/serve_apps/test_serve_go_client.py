"""The Go client that an endpoint's document becomes: its structs have the fields of the models."""

import importlib.util
import re
from pathlib import Path

import pytest
import pytest_asyncio
from serving_fakes import build_service

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel

PATH = Path(__file__).parents[3] / "examples" / "go_client.py"
SPEC = importlib.util.spec_from_file_location("go_client", PATH)
go_client = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(go_client)


@pytest_asyncio.fixture
async def source(tmp_path):
    anomaly = AnomalyModel(AnomalyDetector())
    service = build_service({"anomaly": anomaly}, ["anomaly"], site_dir=tmp_path)
    await service.host.load()
    return go_client.render((await service.client.get("/openapi.json")).json())


@pytest.mark.asyncio
async def test_a_served_model_has_its_request_its_record_and_its_call(source):
    request = re.search(r"type AnomaliesDetectRequest struct \{(.*?)\n\}", source, re.DOTALL)[1]

    assert re.search(r'Value \[\]float64 `json:"value"`', request)
    assert re.search(r'StepS float64 `json:"step_s,omitempty"`', request)
    assert 'c.ask(ctx, "/api/v1/anomalies/detect", in, out)' in source
    assert re.search(r'HorizonS \*float64 `json:"horizon_s"`', source)


@pytest.mark.asyncio
async def test_a_model_that_is_not_served_has_none(source):
    assert "PlacementOptimize" not in source


@pytest.mark.asyncio
async def test_braces_and_names_are_those_of_a_go_file(source):
    assert source.startswith("// Package novacron")
    assert source.count("{") == source.count("}")
    names = re.findall(r"^(?:type|func \(c \*Client\)) (\w+)", source, re.MULTILINE)
    assert len(names) == len(set(names))
