"""The files of a model bundle: digests, safe formats, and the comparison of both with a card."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from novacron.errors import ArtifactError
from novacron.models.bundles import MANIFEST

# Formats whose readers run no code from the file.
SAFE_SUFFIXES: Final = (".json", ".safetensors", ".onnx", ".txt", ".skops", ".md", ".csv")
# Protocol 2 and later open with this byte and the protocol number.
PICKLE_PROTOCOLS: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
PICKLE_SUFFIXES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
CHUNK_BYTES: Final = 1 << 20


class BundleFile(BaseModel):
    """One file of a bundle, by its path relative to the bundle folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=0)

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or "\\" in path or path.startswith("/") or ".." in parts or ":" in path:
            raise ValueError(f"{path!r} is not a plain path inside the bundle")
        return PurePosixPath(path).as_posix()


def list_files(bundle_dir: Path, *, max_bytes: int) -> tuple[BundleFile, ...]:
    """List and digest every file under a bundle folder, sorted by path.

    Raises:
        ArtifactError: The folder has no manifest, holds a link or anything but plain files, a
            file is in a format that could run code, or the whole exceeds `max_bytes`.
    """
    if not (bundle_dir / MANIFEST).is_file():
        raise ArtifactError(
            f"{bundle_dir} holds no {MANIFEST}.",
            remedy="Pass the folder that the model's `save` has written.",
        )
    paths = sorted(
        path for path in bundle_dir.rglob("*") if path.is_symlink() or not path.is_dir()
    )
    for path in paths:
        _refuse_unsafe(path)
    total_bytes = sum(path.stat().st_size for path in paths)
    if total_bytes > max_bytes:
        raise ArtifactError(
            f"The bundle has {total_bytes} bytes, the limit is {max_bytes}.",
            remedy="Raise max_bundle_mib in the registry's settings, or save a smaller model.",
        )
    return tuple(
        BundleFile(
            path=path.relative_to(bundle_dir).as_posix(),
            sha256=_sha256(path),
            size_bytes=path.stat().st_size,
        )
        for path in paths
    )


def bundle_sha256(files: Sequence[BundleFile]) -> str:
    """Return one digest for a whole bundle: over the sorted lines `sha256  path`."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_files(found: Sequence[BundleFile], expected: Sequence[BundleFile]) -> None:
    """Compare a bundle with what its card promises.

    Raises:
        ArtifactError: A file is missing, was added, or has other bytes.
    """
    check_names([file.path for file in found], expected)
    promised = {file.path: file for file in expected}
    for file in found:
        if file != promised[file.path]:
            raise ArtifactError(
                f"{file.path}: got sha256 {file.sha256}, expected {promised[file.path].sha256}.",
                remedy=_DAMAGED,
            )


def check_names(found: Sequence[str], expected: Sequence[BundleFile]) -> None:
    """Compare the file names of a bundle with what its card promises, before reading any.

    Raises:
        ArtifactError: A file is missing or was added.
    """
    promised = {file.path for file in expected}
    missing = sorted(promised - set(found))
    added = sorted(set(found) - promised)
    if missing or added:
        raise ArtifactError(
            f"The stored bundle is not the registered one: missing {missing}, added {added}.",
            remedy=_DAMAGED,
        )


_DAMAGED: Final = "Do not serve it; roll back, or register the model again from its training run."


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _refuse_unsafe(path: Path) -> None:
    reason = ""
    if path.is_symlink() or not path.is_file():
        reason = "is not a plain file"
    elif path.suffix not in SAFE_SUFFIXES:
        reason = f"has no format known to be safe ({', '.join(SAFE_SUFFIXES)})"
    elif _holds_pickle(path):
        reason = "holds a pickle, which runs code when it is read"
    if reason:
        raise ArtifactError(
            f"{path.name} {reason}.",
            remedy="Save weights as safetensors, ONNX, LightGBM text, skops or JSON.",
        )


def _holds_pickle(path: Path) -> bool:
    if path.suffix == ".safetensors" and _begins_as_safetensors(path):
        return False
    with path.open("rb") as stream:
        if stream.read(2) in PICKLE_PROTOCOLS:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(PICKLE_SUFFIXES):
                return True
            with archive.open(member) as stream:
                if stream.read(2) in PICKLE_PROTOCOLS:
                    return True
    return False


def _begins_as_safetensors(path: Path) -> bool:
    """Say whether a file opens with the length of a JSON header that fits into it.

    That length is little-endian, so a header of 640, 896, 1152 or 1408 bytes begins with the same
    two bytes as a pickle does. Source: the safetensors format's description of its layout.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return stream.read(1) == b"{" and 8 + length <= path.stat().st_size
