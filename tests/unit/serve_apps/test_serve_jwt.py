"""Signed tokens: what is let in, and every way in which one is not."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from serving_fakes import MeanModel, build_service, infer_document

from novacron.errors import ConfigError, ForbiddenError, NotReadyError, UnauthorizedError
from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.access.jwt_tokens import JwtVerifier
from serve_apps.settings.access import AccessConfig, JwtConfig

ISSUER, AUDIENCE = "https://idp.example", "novacron"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def now_s():
    return time.time_ns() // 10**9


def jwk(key, kid, **more):
    algorithm = jwt.algorithms.RSAAlgorithm if key is not EC_KEY else jwt.algorithms.ECAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


def pem_of(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(RSA_KEY, "r1"), jwk(EC_KEY, "e1")]}))
    return path


@pytest.fixture
def config(keys):
    return JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file=keys)


@pytest.fixture
def verifier(config):
    return JwtVerifier(config)


def claims(**changes):
    now = now_s()
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "collector-7",
        "iat": now,
        "exp": now + 600,
        "scope": "openid novacron.predict",
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def signed(key=RSA_KEY, algorithm="RS256", kid="r1", **changes):
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "r1"),
                                                       (EC_KEY, "ES256", "e1")])  # fmt: skip
def test_a_token_of_the_provider_is_let_in_by_its_scopes(verifier, key, algorithm, kid):
    caller = verifier.verify(signed(key, algorithm, kid))
    boss = verifier.verify(signed(key, algorithm, kid, scope=None, scp=["novacron.admin"]))

    assert (caller.name, caller.roles) == ("collector-7", {"predict"})
    assert boss.roles == {"admin"}


def unsigned(**changes):
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims(**changes))]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def confused():
    """Signed as with a shared secret, the secret being the public key that everybody knows."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "r1"}).encode())
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode())
    text = head.rstrip(b"=") + b"." + body.rstrip(b"=")
    seal = base64.urlsafe_b64encode(hmac.new(pem_of(RSA_KEY), text, hashlib.sha256).digest())
    return (text + b"." + seal.rstrip(b"=")).decode()


def tampered():
    head, _, seal = signed().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(scope="novacron.admin")).encode())
    return ".".join((head, body.rstrip(b"=").decode(), seal))


FORGED = {
    "expired": (lambda: signed(exp=now_s() - 60), "expired"),
    "not yet valid": (lambda: signed(nbf=now_s() + 600), "not valid"),
    "without an end": (lambda: signed(exp=None), "not valid"),
    "for another service": (lambda: signed(aud="billing"), "not for this service"),
    "for no service": (lambda: signed(aud=None), "not valid"),
    "of another issuer": (lambda: signed(iss="https://evil.example"), "not valid"),
    "of no issuer": (lambda: signed(iss=None), "not valid"),
    "signed by another key": (lambda: signed(OTHER_RSA), "not valid"),
    "signed by an unknown key": (lambda: signed(OTHER_RSA, kid="r9"), "not known"),
    "without a key's name": (lambda: signed(kid=None), "not known"),
    "not signed": (unsigned, "signature is not one of"),
    "signed with a public key as secret": (confused, "signature is not one of"),
    "by an algorithm not allowed": (lambda: signed(algorithm="PS256"), "signature is not one of"),
    "changed after signing": (tampered, "not valid"),
    "no token at all": (lambda: "a.b.c", "cannot be read"),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_token_is_refused(verifier, how):
    make, why = FORGED[how]
    token = make()

    with pytest.raises(UnauthorizedError, match=why) as refused:
        verifier.verify(token)

    assert refused.value.challenge == 'Bearer error="invalid_token"'
    assert token not in str(refused.value)


def test_clocks_may_differ_by_the_leeway(config):
    token = signed(exp=now_s() - 10)

    assert JwtVerifier(config).verify(token).name == "collector-7"
    with pytest.raises(UnauthorizedError, match="expired"):
        JwtVerifier(config.model_copy(update={"leeway_s": 5.0})).verify(token)


class Clock:
    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return now_s() + self.ahead_s


def test_a_token_that_was_let_in_is_not_after_its_end(config):
    clock = Clock()
    verifier = JwtVerifier(config, clock)
    token = signed(exp=now_s() + 1)
    verifier.verify(token)
    clock.ahead_s = 40.0
    # Remembered, but past its end: it is checked anew, by the real clock of the library.
    assert verifier._known[token].until_s < clock()


def test_a_key_that_was_withdrawn_is_refused_after_the_next_reading(config, keys):
    verifier = JwtVerifier(config)
    token = signed()
    verifier.verify(token)
    keys.write_text(json.dumps({"keys": [jwk(EC_KEY, "e1")]}))

    verifier.refresh()

    with pytest.raises(UnauthorizedError, match="not known"):
        verifier.verify(token)


def test_keys_are_read_again_when_they_are_old_and_on_an_unknown_one(config, keys):
    clock = Clock()
    verifier = JwtVerifier(config, clock)
    document = {"keys": [jwk(RSA_KEY, "r1"), jwk(OTHER_RSA, "r2")]}
    keys.write_text(json.dumps(document))
    new = signed(OTHER_RSA, kid="r2")
    with pytest.raises(UnauthorizedError):
        verifier.verify(new)
    clock.ahead_s = 11.0

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert verifier.verify(new).name == "collector-7"
            return
        except UnauthorizedError:
            time.sleep(0.01)
    pytest.fail("the new key was not read")


def test_a_provider_that_is_away_at_the_start_is_asked_again(config):
    answers = [OSError("down")]

    def fetch(url):
        if answers:
            raise answers.pop()
        return json.dumps({"keys": [jwk(RSA_KEY, "r1")]}).encode()

    far = JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://idp.example/keys")
    verifier = JwtVerifier(far, fetch=fetch)
    with pytest.raises(NotReadyError):
        verifier.verify(signed())

    verifier.refresh()

    assert verifier.verify(signed()).name == "collector-7"


def test_a_key_in_pem_will_do(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(pem_of(RSA_KEY))
    verifier = JwtVerifier(JwtConfig(issuer=ISSUER, audience=AUDIENCE, public_key_file=path))

    assert verifier.verify(signed(kid=None)).name == "collector-7"
    with pytest.raises(UnauthorizedError):
        verifier.verify(signed(EC_KEY, "ES256"))


WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  refused


@pytest.mark.parametrize(
    "document",
    [
        "not json",
        "{}",
        '{"keys": []}',
        '{"keys": ["x"]}',
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}]}),
        json.dumps({"keys": [jwk(RSA_KEY, "r1", use="enc")]}),
        json.dumps({"keys": [jwk(RSA_KEY, "r1", alg="RS512")]}),
        json.dumps({"keys": [jwk(WEAK, "weak")]}),
    ],
)
def test_keys_that_cannot_be_used_stop_the_start(config, keys, document):
    keys.write_text(document)

    with pytest.raises(ConfigError, match=r"access\.jwt"):
        JwtVerifier(config)


def test_a_missing_file_of_keys_stops_the_start(config, keys):
    keys.unlink()

    with pytest.raises(ConfigError, match=r"access\.jwt"):
        Guard(AccessConfig(jwt=config))


@pytest.mark.asyncio
async def test_over_http_each_refusal_has_its_status_and_challenge(config):
    service = build_service(
        {"mean": MeanModel()}, ["mean"], desk=Desk(Guard(AccessConfig(jwt=config)))
    )
    await service.host.load()

    async def ask(token):
        headers = {"Authorization": f"Bearer {token}"}
        return await service.client.post(
            "/v2/models/mean/infer", json=infer_document([[1, 3]]), headers=headers
        )

    good, expired = await ask(signed()), await ask(signed(exp=1))
    poor, none = await ask(signed(scope="openid")), await ask("x")

    assert [reply.status_code for reply in (good, expired, poor, none)] == [200, 401, 403, 401]
    assert expired.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "insufficient_scope" in poor.headers["www-authenticate"]


def test_a_scope_is_needed_for_each_role(config):
    guard = Guard(AccessConfig(jwt=config))

    guard.admit(f"Bearer {signed()}", "10.0.0.7")
    with pytest.raises(ForbiddenError):
        guard.admit(f"Bearer {signed()}", "10.0.0.7", role="admin")
