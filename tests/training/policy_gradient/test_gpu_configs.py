"""The configurations for GPUs: they are read, they fit their cards, and they run in miniature."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli import COMMANDS, make_app
from training.config import read_config
from training.policies.registry import tiny_name
from training.policy_gradient.config import PolicyGradientConfig
from training.policy_gradient.dry_run import dry_run
from training.policy_gradient.memory import estimate
from training.policy_gradient.step_weighting import step_weighting_of

app = make_app(COMMANDS)
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
CARDS_GB = {"gpu_sd15": 24, "gpu_sd15_full": 80, "gpu_sd35m": 40, "gpu_flux": 48}
FAMILIES = {"gpu_sd15": "sd15", "gpu_sd15_full": "sd15", "gpu_sd35m": "sd3", "gpu_flux": "flux"}
RESERVE_GB = 2  # the CUDA context and what the allocator cannot use


def config_of(name: str) -> PolicyGradientConfig:
    return read_config(PolicyGradientConfig, ROOT / f"configs/{name}.toml")


def row_of(name: str) -> str:
    """What the page says of a configuration."""
    page = (ROOT / "docs/gpu-training.md").read_text()
    return next(line for line in page.splitlines() if line.startswith(f"| `configs/{name}.toml`"))


ALGORITHMS = [(name, algorithm) for name in CARDS_GB for algorithm in config_of(name).algorithms]


def test_each_configuration_for_a_gpu_is_tested_here() -> None:
    assert {path.stem for path in (ROOT / "configs").glob("gpu_*.toml")} == set(CARDS_GB)


@pytest.mark.parametrize("name", CARDS_GB)
def test_a_configuration_fits_its_card_on_paper(name: str) -> None:
    config = config_of(name)
    assert tiny_name(config.policy.name) == f"tiny:{FAMILIES[name]}"
    for algorithm in config.algorithms:
        found = estimate(config, algorithm, FAMILIES[name])
        assert found.most / 1e9 < CARDS_GB[name] - RESERVE_GB
        assert f"{found.most / 1e9:.2f} GB" in found.table().splitlines()[-1]
        assert f"| {CARDS_GB[name]} GB | {found.most / 1e9:.1f} GB |" in row_of(name)


def test_the_estimate_follows_from_its_parts() -> None:
    """Two moments of 4 bytes for each trained number; GPUs share an epoch's pictures."""
    config = config_of("gpu_sd15")
    one, two = (estimate(config, "pcpo", "sd15", processes=processes) for processes in (1, 2))
    size = {line.what: line.bytes for line in one.lines}
    trained = 4 * 797_184 * 4  # rank 16 is four times rank 4
    assert size["trained weights"] == trained
    assert size["AdamW's two moments"] == 2 * trained
    assert size["network, frozen"] == 2 * 859_520_964
    epoch = 256 * (4 * (3 * 50 + 1) * 4 * 64 * 64 + 2 * 2 * 77 * 768)
    assert size["trajectories and prompts of an epoch"] == epoch
    assert one.most - two.most == epoch // 2


@pytest.mark.parametrize("name", CARDS_GB)
def test_minibatches_have_one_size(name: str) -> None:
    """Half-precision kernels may give other bits for another number of rows: no ratio of 1 then."""
    training = config_of(name).training
    pictures = training.prompts * training.group
    assert pictures % training.rows == 0
    assert pictures % training.updates == 0
    assert pictures // training.updates % training.rows == 0


@pytest.mark.parametrize(("name", "zeta"), [("gpu_flux", 13.3432), ("gpu_sd35m", 4.297)])
def test_proportionate_weights_keep_their_sum(name: str, zeta: float) -> None:
    """Both sums as computed from the papers' grids by hand, to their printed digits."""
    config = config_of(name)
    weight_T = step_weighting_of(config.sampler, config.algorithm("pcpo"), "flow").weight_T
    assert float(weight_T.sum()) == pytest.approx(zeta, abs=1e-3)


@pytest.mark.parametrize(("name", "algorithm"), ALGORITHMS)
def test_a_dry_run_makes_two_updates(name: str, algorithm: str, tmp_path: Path) -> None:
    outcome = dry_run(config_of(name), algorithm, tmp_path)
    assert (outcome.epoch, outcome.stopped) == (1, None)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["gradient_norm"] > 0
    assert rows[-1]["largest_log_ratio"] > 0  # the second update saw what the first one changed
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["base"]["name"] == f"tiny:{FAMILIES[name]}"
    assert len(card["files"]) == 1


def test_the_command_prints_the_estimate_that_the_page_shows(tmp_path: Path) -> None:
    arguments = ["dry-run", "--config", str(ROOT / "configs/gpu_sd15.toml"), "--keep", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    shown = (ROOT / "docs/gpu-training.md").read_text().split("```")[1].strip()
    assert result.stdout.count(shown) == len(config_of("gpu_sd15").algorithms)
    assert {folder.name for folder in tmp_path.iterdir()} == set(config_of("gpu_sd15").algorithms)
