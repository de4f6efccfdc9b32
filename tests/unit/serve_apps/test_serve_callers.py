"""Named tokens: roles, rates, sizes, addresses; one guard for HTTP and gRPC."""

import hashlib

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from serving_fakes import MeanModel, build_service, infer_document
from test_serve_grpc import RAW, Context

from novacron.errors import ConfigError, ForbiddenError, RateLimitedError, UnauthorizedError
from serve_apps.access.desk import Desk
from serve_apps.access.exposure import check_exposure, check_tls
from serve_apps.access.guard import Guard
from serve_apps.access.rates import Rates
from serve_apps.config import AppConfig
from serve_apps.grpc_service import InferenceService
from serve_apps.settings.access import AccessConfig, JwtConfig, RateConfig, TokenConfig

URL = "/v2/models/mean/infer"


def sha256(token):
    return hashlib.sha256(token.encode()).hexdigest()


def token(name, **more):
    return TokenConfig(name=name, sha256=sha256(name), **more)


def bearer(name):
    return {"Authorization": f"Bearer {name}"}


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


async def service_of(clock=None, **access):
    guard = Guard(AccessConfig(**access), clock or Clock())
    service = build_service({"mean": MeanModel()}, ["mean"], desk=Desk(guard))
    await service.host.load()
    return service


def test_roles_are_those_of_the_token_and_admin_may_do_all():
    guard = Guard(AccessConfig(tokens=(token("reader"), token("boss", roles=("admin",)))))

    guard.admit("Bearer boss", "10.0.0.7")
    guard.admit("Bearer boss", "10.0.0.7", role="admin")
    guard.admit("bearer reader", "10.0.0.7")
    with pytest.raises(ForbiddenError, match="role admin") as refused:
        guard.admit("Bearer reader", "10.0.0.7", role="admin")

    assert "insufficient_scope" in refused.value.challenge


def test_a_refused_token_is_not_repeated():
    guard = Guard(AccessConfig(tokens=(token("reader"),)))

    for shown in ("Bearer s3cret", "Bearer " + "x" * 20_000, "Basic s3cret", None):
        with pytest.raises(UnauthorizedError) as refused:
            guard.admit(shown, "10.0.0.7")
        assert "s3cret" not in str(refused.value.to_dict())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1", ""])
def test_where_no_token_is_set_up_this_machine_may_do_all(address):
    Guard().admit(None, address, role="admin")


@pytest.mark.parametrize("address", ["10.0.0.7", "::2", "unknown", "::"])
def test_where_no_token_is_set_up_no_other_machine_is_answered(address):
    with pytest.raises(ForbiddenError, match="this machine only"):
        Guard().admit(None, address)


@pytest.mark.parametrize(
    ("access", "peer", "forwarded", "counts"),
    [
        ({}, "127.0.0.1", None, "127.0.0.1"),
        ({}, "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        # Through a proxy of this machine comes another one: where nobody needs a token it is let
        # in by nobody's word.
        ({}, "127.0.0.1", "10.0.0.7", "10.0.0.7"),
        ({"tokens": (token("a"),)}, "10.0.0.7", "1.2.3.4", "10.0.0.7"),
        ({"tokens": (token("a"),), "trusted_proxies": ("10.0.0.7",)},
         "10.0.0.7", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
    ],
)  # fmt: skip
def test_whose_address_counts(access, peer, forwarded, counts):
    assert Guard(AccessConfig(**access)).address_of(peer, forwarded) == counts


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://127.0.0.1:8000", 200), ("http://localhost:8000", 200), ("http://[::1]", 200),
     ("https://evil.example", 403), ("null", 403), ("http://127.0.0.1.evil.example", 403), ("http://[", 403)],
)  # fmt: skip
async def test_a_page_of_elsewhere_cannot_use_the_browser_of_this_machine(origin, status):
    service, guarded = await service_of(), await service_of(tokens=(token("a"),))

    open_reply, with_token = [
        await one.client.post(
            URL, json=infer_document([[1, 3]]), headers={"Origin": origin, **bearer("a")}
        )
        for one in (service, guarded)
    ]

    assert (open_reply.status_code, with_token.status_code) == (status, 200)


def test_a_caller_has_a_burst_and_earns_the_rest():
    clock = Clock()
    guard = Guard(
        AccessConfig(tokens=(token("a"), token("b")), rate=RateConfig(requests_per_s=2, burst=3)),
        clock,
    )
    for _ in range(3):
        guard.admit("Bearer a", "")
    with pytest.raises(RateLimitedError) as refused:
        guard.admit("Bearer a", "")

    assert refused.value.retry_after_s == pytest.approx(0.5)
    guard.admit("Bearer b", "")
    clock.now_s = 0.5
    guard.admit("Bearer a", "")
    with pytest.raises(RateLimitedError):
        guard.admit("Bearer a", "")


def test_a_token_may_have_a_rate_of_its_own():
    own = token("a", rate=RateConfig(requests_per_s=1, burst=1))
    guard = Guard(AccessConfig(tokens=(own, token("b"))), Clock())

    guard.admit("Bearer a", "")
    for _ in range(50):
        guard.admit("Bearer b", "")
    with pytest.raises(RateLimitedError):
        guard.admit("Bearer a", "")


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 0.5)), max_size=80))
def test_callers_remembered_are_bounded_and_none_gets_more_than_rate_and_burst(steps):
    clock, rate = Clock(), RateConfig(requests_per_s=5, burst=4)
    rates = Rates(1000, clock)
    taken = 0
    for _, seconds in steps:
        clock.now_s += seconds
        taken += rates.take("one", rate) == 0
        assert taken <= rate.burst + clock.now_s * rate.requests_per_s + 1e-6

    small = Rates(5, clock)
    for caller, _ in steps:
        small.take(str(caller), rate)
        assert len(small) <= 5


@pytest.mark.asyncio
async def test_who_asks_too_often_hears_when_to_come_back():
    service = await service_of(rate=RateConfig(requests_per_s=0.2, burst=2))

    replies = [await service.client.post(URL, json=infer_document([[1, 3]])) for _ in range(3)]

    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[-1].headers["retry-after"] == "5"
    assert replies[-1].json()["code"] == "RateLimitedError"
    assert (await service.client.get("/v2/health/live")).status_code == 200


@pytest.mark.asyncio
async def test_grpc_counts_with_http():
    service = await service_of(tokens=(token("a"),), rate=RateConfig(requests_per_s=1, burst=1))
    inference = InferenceService(service.plane, allow_remote=False, desk=service.desk)
    first = await service.client.post(URL, json=infer_document([[1, 3]]), headers=bearer("a"))

    context = Context(metadata=(("authorization", "Bearer a"),))
    await inference.call("ModelInfer", RAW, context)

    assert first.status_code == 200
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert float(dict(context.trailing)["retry-after"]) == pytest.approx(1.0)


@pytest.mark.asyncio
async def test_a_token_may_send_less_than_others():
    service = await service_of(tokens=(token("small", max_body_bytes=1024), token("big")))
    body = infer_document([[1.5] * 400])

    replies = [
        await service.client.post(URL, json=body, headers=bearer(name))
        for name in ("small", "big")
    ]

    assert [reply.status_code for reply in replies] == [413, 200]
    assert "small" in replies[0].json()["error"]
    inference = InferenceService(service.plane, allow_remote=False, desk=service.desk)
    context = Context(metadata=(("authorization", "Bearer small"),))
    await inference.call("ModelInfer", RAW + b" " * 2000, context)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.asyncio
async def test_grpc_through_a_proxy_of_this_machine_is_not_local():
    service = await service_of()
    inference = InferenceService(service.plane, allow_remote=False, desk=service.desk)
    context = Context(metadata=(("x-forwarded-for", "10.0.0.7"),))

    await inference.call("ModelInfer", RAW, context)

    assert context.code is grpc.StatusCode.PERMISSION_DENIED


ANYWHERE = "0.0.0.0"  # noqa: S104  refused


@pytest.mark.parametrize("host", [ANYWHERE, "::", "10.0.0.7", "", "example.org"])
def test_an_address_others_reach_needs_a_token(host):
    with pytest.raises(ConfigError, match=r"http_options\.host"):
        check_exposure(AccessConfig(), host)
    check_exposure(AccessConfig(tokens=(token("a"),)), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", None])
def test_this_machine_needs_none(host):
    check_exposure(AccessConfig(), host)


def test_grpc_for_other_machines_needs_a_token():
    with pytest.raises(ValidationError, match=r"grpc\.allow_remote needs a token"):
        AppConfig(models=("a",), grpc={"allow_remote": True})
    AppConfig(models=("a",), grpc={"allow_remote": True}, access={"token_sha256": ["a" * 64]})


def test_a_certificate_that_serves_haproxy_would_not_know_is_refused():
    check_tls("server.crt", ha_proxy=False)
    check_tls(None, ha_proxy=True)
    with pytest.raises(ConfigError, match="tls_frontend"):
        check_tls("server.crt", ha_proxy=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": [{"name": "a", "sha256": "x"}]},
        {"tokens": [{"name": "a b", "sha256": "a" * 64}]},
        {"tokens": [{"name": "a", "sha256": "a" * 64, "roles": ["root"]}]},
        {"tokens": [{"name": "a", "sha256": "a" * 64, "roles": []}]},
        {"tokens": [{"name": "a", "sha256": "a" * 64}, {"name": "a", "sha256": "b" * 64}]},
        {"tokens": [{"name": "a", "sha256": "a" * 64}], "token_sha256": ["A" * 64]},
        {"rate": {"requests_per_s": -1}},
        {"rate": {"per_minute": 5}},
        {"trusted_proxies": ["proxy.local"]},
        {"audit": {"keep": 0}},
        {"jwt": {"issuer": "i", "audience": "a"}},
        {"jwt": {"issuer": "i", "audience": "a", "jwks_url": "http://idp.example/keys"}},
        {"jwt": {"issuer": "i", "audience": "a", "jwks_url": "https://i", "jwks_file": "k"}},
        {"jwt": {"issuer": "i", "audience": "a", "jwks_file": "k", "algorithms": ["HS256"]}},
        {"jwt": {"issuer": "i", "audience": "a", "jwks_file": "k", "algorithms": ["none"]}},
        {"password": "x"},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        AccessConfig.model_validate(wrong)


def test_settings_of_signed_tokens_show_no_secret():
    config = JwtConfig(issuer="https://idp", audience="novacron", jwks_url="https://idp/keys")

    assert "private" not in repr(AccessConfig(jwt=config))
