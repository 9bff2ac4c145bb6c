"""Configuration files of the release before."""

from pathlib import Path

import pytest

from training.config import read_config
from training.policy_gradient.config import PolicyGradientConfig

TOY = Path("configs/cpu_toy.toml")


@pytest.mark.parametrize(("former", "now"), [("diffusion", "diffusion"), ("itself", "native")])
def test_the_former_name_of_a_key_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, former: str, now: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TOY.read_text().replace('parameterization = "diffusion"', f'seen_as = "{former}"'))
    assert read_config(PolicyGradientConfig, path).policy.parameterization == now
    assert "seen_as is called parameterization now" in caplog.text
    caplog.clear()
    assert read_config(PolicyGradientConfig, TOY).policy.parameterization == "diffusion"
    assert caplog.text == ""
