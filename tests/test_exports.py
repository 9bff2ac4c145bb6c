"""What a package's first screen offers is there, and nothing is loaded before it is asked for."""

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ("indexer", "rerank", "service", "training")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_is_what_its_module_calls_so(package: str) -> None:
    module = import_module(package)
    for name, place in module._EXPORTS.items():
        assert getattr(module, name) is getattr(import_module(place), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_another_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = import_module(package).nothing


def test_importing_the_packages_loads_no_library() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"numpy", "faiss", "fastapi", "torch", "PIL"} & set(loaded.split()) == set()
