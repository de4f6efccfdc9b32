"""The audit log: what is in it, what never is, and that no answer waits for it."""

import hashlib
import json
import stat
import threading
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from pydantic import ValidationError
from serving_fakes import MeanModel, build_service, infer_document
from test_serve_grpc import RAW, Context

from novacron.errors import ConfigError
from serve_apps.access.audit import AuditLog, Entry
from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.domain import feedback
from serve_apps.grpc_service import InferenceService
from serve_apps.settings.access import AccessConfig, AuditConfig, TokenConfig

URL = "/v2/models/mean/infer"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "s3cret-token"  # noqa: S105  looked for in the log


def entry(**changes):
    values = {"caller": "a", "address": "10.0.0.7", "action": "POST /x", "status": 403,
              "decision": "refused"}  # fmt: skip
    return Entry(**(values | changes))


def lines_of(folder):
    return [
        json.loads(line)
        for path in sorted(folder.iterdir())
        for line in path.read_text().splitlines()
    ]


def make_desk(folder, **audit):
    tokens = (TokenConfig(name="collector", sha256=hashlib.sha256(SECRET.encode()).hexdigest()),)
    log = AuditLog(AuditConfig(dir=folder, **audit), lambda: AT, process="7")
    return Desk(Guard(AccessConfig(tokens=tokens)), log)


@pytest_asyncio.fixture
async def visited(tmp_path):
    async def visit(**audit):
        desk = make_desk(tmp_path / "audit", **audit)
        service = build_service({"mean": MeanModel()}, ["mean"], desk=desk)
        await service.host.load()
        right = {"Authorization": f"Bearer {SECRET}", "X-Request-ID": "r-1"}
        await service.client.post(URL, json=infer_document([[1, 3]]), headers=right)
        await service.client.post(
            URL, json=infer_document([[1, 3]]), headers={"Authorization": "Bearer wr0ng"}
        )
        inference = InferenceService(service.plane, allow_remote=False, desk=desk)
        await inference.call("ModelInfer", RAW, Context())
        desk.audit.close()
        return lines_of(tmp_path / "audit")

    return visit


@pytest.mark.asyncio
async def test_refusals_are_always_written_and_answers_only_if_asked_for(visited):
    lines = await visited()

    assert [(line["action"], line["status"], line["decision"]) for line in lines] == [
        (f"POST {URL}", 401, "refused"),
        ("ModelInfer", 401, "refused"),
    ]


@pytest.mark.asyncio
async def test_a_line_says_who_what_when_and_how_it_ended_and_no_token(visited):
    lines = await visited(predictions=True)

    assert lines[0] == {
        "at": "2026-01-02T03:04:05+00:00",
        "caller": "collector",
        "address": "127.0.0.1",
        "action": f"POST {URL}",
        "model": "mean",
        "version": "1",
        "request_id": "r-1",
        "status": 200,
        "decision": "answered",
    }
    assert lines[1]["reason"] == "UnauthorizedError"
    assert SECRET not in str(lines)
    assert "wr0ng" not in str(lines)


@pytest.mark.asyncio
async def test_what_changes_later_answers_is_always_written(tmp_path):
    service = build_service(
        {"mean": MeanModel()},
        ["mean"],
        desk=make_desk(tmp_path / "audit"),
        site_dir=tmp_path / "f",
    )
    await service.host.load()

    await service.client.post(
        feedback.PATH, json={}, headers={"Authorization": f"Bearer {SECRET}"}
    )
    service.desk.audit.close()

    (line,) = lines_of(tmp_path / "audit")
    assert (line["caller"], line["action"]) == ("collector", f"POST {feedback.PATH}")
    assert line["decision"] in ("failed", "changed")


def test_files_are_put_aside_deleted_and_private(tmp_path):
    log = AuditLog(AuditConfig(dir=tmp_path, max_bytes=4096, keep=3), lambda: AT, process="7")
    for number in range(200):
        log._append([{"at": AT, "number": number, "filler": "x" * 80}])

    files = sorted(path.name for path in tmp_path.iterdir())
    numbers = [line["number"] for line in lines_of(tmp_path)]
    assert len(files) == 3
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    assert max(numbers) == 199
    assert sorted(numbers) == list(range(min(numbers), 200)), "what is kept has no gap"
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_restart_goes_on_where_the_last_process_ended(tmp_path):
    for number in range(2):
        log = AuditLog(AuditConfig(dir=tmp_path), lambda: AT, process="7")
        log.write(entry(reason=str(number)))
        log.close()

    assert [line["reason"] for line in lines_of(tmp_path)] == ["0", "1"]


def test_a_disk_that_cannot_follow_loses_lines_and_counts_them(tmp_path, monkeypatch):
    lost = []
    log = AuditLog(AuditConfig(dir=tmp_path, max_waiting=5), lambda: AT, lost.append, process="7")
    gate, entered = threading.Event(), threading.Event()
    write = log._append

    def slow(block):
        entered.set()
        assert gate.wait(10)
        write(block)

    monkeypatch.setattr(log, "_append", slow)
    log.write(entry())
    assert entered.wait(10)

    for _ in range(8):
        log.write(entry())
    gate.set()
    log.close()

    assert sum(lost) == 3
    lines = lines_of(tmp_path)
    assert [line["lost_lines"] for line in lines if "lost_lines" in line] == [3]
    assert len(lines) == 1 + 5 + 1


def test_a_full_disk_harms_nobody(tmp_path, monkeypatch):
    lost = []
    log = AuditLog(AuditConfig(dir=tmp_path), lambda: AT, lost.append, process="7")

    def full(block):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "_append", full)
    log.write(entry())
    log.close()

    assert lost == [1]


def test_long_texts_are_cut(tmp_path):
    log = AuditLog(AuditConfig(dir=tmp_path), lambda: AT, process="7")
    log.write(entry(action="POST /" + "x" * 10_000))
    log.close()

    assert len(lines_of(tmp_path)[0]["action"]) == 256


@pytest.mark.asyncio
async def test_health_is_never_written(tmp_path):
    desk = make_desk(tmp_path / "audit", predictions=True)
    service = build_service({"mean": MeanModel()}, ["mean"], desk=desk)
    await service.host.load()

    await service.client.get("/v2/health/ready")
    desk.audit.close()

    assert lines_of(tmp_path / "audit") == []


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"access\.audit\.dir"):
        AuditLog(AuditConfig(dir=tmp_path / "file" / "audit"))
    with pytest.raises(ValidationError, match="absolute"):
        AuditConfig(dir="audit")
