"""One folder for everything a search keeps: local, or in an object store such as `s3://`.

Files are small and whole: each is written once under a name of its own, because object stores
cannot append. Locally a file appears by renaming, so a killed process leaves none cut short.
"""

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
from pyarrow import fs

from novacron.errors import ConfigError

_BLOCK: Final = 1 << 20


class Storage:
    """A folder on a file system that the driver and every node reach.

    Args:
        filesystem: PyArrow's handle of it.
        root: The folder in it.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        self._is_local = isinstance(filesystem, fs.LocalFileSystem)

    @classmethod
    def open(cls, location: str) -> Self:
        """Open a local path, a PyArrow URI (`s3://bucket/prefix`) or one that fsspec knows.

        Raises:
            ConfigError: The location names no file system that is known here.
        """
        if "://" not in location:
            return cls(fs.LocalFileSystem(), str(Path(location).resolve()))
        try:
            return cls(*fs.FileSystem.from_uri(location))
        except (pa.ArrowException, OSError, ValueError):
            return cls(*_by_fsspec(location))

    def below(self, name: str) -> Self:
        """Return a folder in this one."""
        return type(self)(self.filesystem, f"{self.root}/{name}")

    def check_writable(self) -> None:
        """Write a file, read it back and remove it.

        Raises:
            ConfigError: That is not possible.
        """
        name = f".probe-{secrets.token_hex(4)}"
        try:
            self.write_json(name, {"probe": name})
            came_back = self.read_json(name) == {"probe": name}
            self.filesystem.delete_file(self._path(name))
        except (OSError, pa.ArrowException) as cause:
            raise ConfigError(
                field="storage",
                got=self.root,
                expected="a place that can be written",
                remedy=f"{type(cause).__name__}: {cause}",
            ) from cause
        if not came_back:
            raise ConfigError(
                field="storage", got=self.root, expected="a place that returns what was written"
            )

    def write_json(self, name: str, value: Any) -> None:
        """Write one document, whole or not at all."""
        self.write_text(name, json.dumps(value, allow_nan=False, separators=(",", ":")))

    def write_text(self, name: str, text: str) -> None:
        """Write one text file, whole or not at all."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one file, whole or not at all."""
        path = self._path(name)
        self._make_parent(path)
        draft = f"{path}.{secrets.token_hex(4)}.tmp" if self._is_local else path
        with self.filesystem.open_output_stream(draft) as stream:
            stream.write(content)
        if draft != path:
            Path(draft).replace(path)

    def read_json(self, name: str) -> Any | None:
        """Return a document, or None where there is none."""
        text = self.read_text(name)
        return None if text is None else json.loads(text)

    def read_text(self, name: str) -> str | None:
        """Return a text file, or None where there is none."""
        try:
            with self.filesystem.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read()).decode()
        except FileNotFoundError:
            return None

    def names(self, folder: str = "") -> list[str]:
        """Return the files below a folder, by their names from here, sorted."""
        base = self._path(folder) if folder else self.root
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        found = [
            info.path
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File and not info.path.endswith(".tmp")
        ]
        return sorted(path.removeprefix(f"{self.root}/") for path in found)

    def put_folder(self, source: Path, name: str) -> None:
        """Copy a local folder; its name shows up only after every file in it is there.

        The marker `name.done` is what `has_folder` looks at.
        """
        for path in sorted(source.rglob("*")):
            if path.is_file():
                target = f"{self._path(name)}/{path.relative_to(source).as_posix()}"
                self._make_parent(target)
                with path.open("rb") as read, self.filesystem.open_output_stream(target) as out:
                    shutil.copyfileobj(read, out, _BLOCK)
        self.write_json(f"{name}.done", {})

    def has_folder(self, name: str) -> bool:
        """Say whether a folder is there, whole."""
        return self.read_text(f"{name}.done") is not None

    @contextmanager
    def folder_here(self, name: str) -> Iterator[Path]:
        """Give a folder as a local copy for the length of the context."""
        with tempfile.TemporaryDirectory(prefix="novacron-tuning-") as scratch:
            for path in self.names(name):
                local = Path(scratch) / path.removeprefix(f"{name}/")
                local.parent.mkdir(parents=True, exist_ok=True)
                with (
                    self.filesystem.open_input_stream(self._path(path)) as read,
                    local.open("wb") as out,
                ):
                    shutil.copyfileobj(read, out, _BLOCK)
            yield Path(scratch)

    def remove_folder(self, name: str) -> None:
        """Remove a folder and its marker; one that is not there is fine."""
        for path in (f"{name}.done", *self.names(name)):
            try:
                self.filesystem.delete_file(self._path(path))
            except FileNotFoundError:
                continue
        if self._is_local:
            shutil.rmtree(self._path(name), ignore_errors=True)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _make_parent(self, path: str) -> None:
        # Object stores have no folders; making one there would cost a request a file.
        if self._is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        elif isinstance(self.filesystem, fs.PyFileSystem):
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)


def _by_fsspec(location: str) -> tuple[fs.FileSystem, str]:
    import fsspec

    try:
        found, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError, OSError) as cause:
        raise ConfigError(
            field="storage",
            got=location,
            expected="a path, or a URI that PyArrow or fsspec opens, e.g. s3://bucket/prefix",
            remedy=f"{cause}",
        ) from cause
    return fs.PyFileSystem(fs.FSSpecHandler(found)), root
