"""A gallery to try Kallos on: real captioned pictures that a package manager delivers.

Debian's and Ubuntu's `tuxpaint-stamps-default` holds about a thousand photographs and drawings with captions
in a hundred languages. `apt-get download` needs no root; where the machine has no package lists, private ones
are fetched. Elsewhere the photographs that ship inside scikit-image and scikit-learn take their place.
"""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from indexer.disk.files import writing
from indexer.errors import UnavailableError

PACKAGE = "tuxpaint-stamps-default"
STAMPS = Path("usr/share/tuxpaint/stamps")
APT_TIMEOUT_S = 240


@dataclass(frozen=True, slots=True)
class Samples:
    """A folder of pictures; `captioned` tells whether captions lie beside them."""

    folder: Path
    description: str
    captioned: bool


def find_samples(work: Path) -> Samples:
    """The sample gallery below `work`, fetched there when it is not.

    Raises:
        UnavailableError: No package manager delivers it and no package holds a substitute.
    """
    work = work.absolute()
    stamps = work / PACKAGE / STAMPS
    if not stamps.is_dir() and shutil.which("apt-get") and shutil.which("dpkg"):
        _unpack(work)
    if stamps.is_dir():
        return Samples(stamps, f"{PACKAGE} (Tux Paint, GPL and public domain)", captioned=True)
    for module, inside in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return Samples(Path(spec.origin).parent / inside, f"the photographs of {module}", captioned=False)
    raise UnavailableError(
        f"no sample pictures: apt-get could not fetch {PACKAGE}, and neither scikit-image nor scikit-learn "
        "is installed; index a folder of your own with `kallos index FOLDER`"
    )


def _unpack(work: Path) -> None:
    """Download the package and unpack it; leaves nothing half done behind."""
    downloads = work / "downloads"
    with writing(downloads):
        downloads.mkdir(parents=True, exist_ok=True)
    if not list(downloads.glob(f"{PACKAGE}_*.deb")) and not _download(downloads, []):
        private = _private_lists(work / "apt")
        _apt(["update"], private, downloads)
        _download(downloads, private)
    for archive in sorted(downloads.glob(f"{PACKAGE}_*.deb")):
        beside = work / f"{PACKAGE}.part"
        shutil.rmtree(beside, ignore_errors=True)
        subprocess.run(["dpkg", "-x", str(archive), str(beside)], check=True)
        beside.replace(work / PACKAGE)
        archive.unlink()


def _download(folder: Path, options: list[str]) -> bool:
    return _apt(["download", PACKAGE], options, folder)


def _apt(arguments: list[str], options: list[str], folder: Path) -> bool:
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *options, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, timeout=APT_TIMEOUT_S, capture_output=True)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _private_lists(folder: Path) -> list[str]:
    """Options that make apt keep its package lists in `folder`, where no root is needed."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder}"]
