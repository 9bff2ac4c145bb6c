"""Epochs: the policy that draws is the one that learns, every algorithm raises an easy reward, and seeds
decide.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.errors import ConflictError, InvalidInputError
from tests.support.tiny_policy import EVERYTHING
from tests.support.toy_run import ALGORITHMS, DDIM, FLOW, LONG_DDIM, toy_config, toy_run
from training.policies.adapters import copy_of
from training.policy_gradient.config import SamplerConfig
from training.policy_gradient.step_weighting import step_weighting_of

pytestmark = pytest.mark.slow

FLOWS = ["dance-grpo", "flow-grpo", "log-hinge", "pcpo", "pcpo-flow", "pcpo-ratio"]
DIFFUSIONS = [("ddpo", DDIM), ("pcpo", DDIM), ("pcpo-lambda", DDIM)]


@pytest.mark.parametrize(("algorithm", "sampler"), [*((name, FLOW) for name in FLOWS), *DIFFUSIONS])
def test_every_algorithm_makes_pictures_brighter(
    tiny_generator_folder: Path, tmp_path: Path, algorithm: str, sampler: SamplerConfig
) -> None:
    run = toy_run(tiny_generator_folder, tmp_path, algorithm, toy_config(sampler))
    for number in range(1, 9):
        run.trainer.epoch(number)
    after, _ = run.suite.take(copy_of(run.parts.policy.trainable()))
    assert after.reward > run.suite.of_base.reward + 0.001
    assert after.held_out["darkness"] == pytest.approx(-after.reward)


def test_the_authors_sampler_learns_with_the_mean_native_weight(
    tiny_generator_folder: Path, tmp_path: Path
) -> None:
    """Its 50 steps take long here: one epoch, of which every trained step sends a gradient."""
    config = toy_config(LONG_DDIM, prompts=2, group=2, updates=1)
    trainer = toy_run(tiny_generator_folder, tmp_path, "pcpo-sigma", config).trainer
    record = trainer.epoch(1)
    assert all(norm > 0 for norm in record.gradient_T[:-1])
    native = step_weighting_of(LONG_DDIM, ALGORITHMS["ddpo"], "diffusion")
    assert trainer.weighting.weight_T.tolist() == pytest.approx([float(native.weight_T.mean())] * 50)
    assert not torch.allclose(trainer.weighting.steps.sigma_T, native.steps.sigma_T)


def test_all_weights_can_be_trained(tiny_generator_folder: Path, tmp_path: Path) -> None:
    config = toy_config()
    config = replace(config, policy=replace(config.policy, adapter=EVERYTHING))
    trainer = toy_run(tiny_generator_folder, tmp_path, "pcpo-flow", config).trainer
    before = copy_of(trainer.policy.trainable())
    trainer.epoch(1)
    changed = [name for name, weight in trainer.policy.trainable() if not torch.equal(weight, before[name])]
    assert len(changed) > 0.9 * len(before)


def test_a_record_says_which_steps_were_trained(tiny_generator_folder: Path, tmp_path: Path) -> None:
    record = toy_run(tiny_generator_folder, tmp_path, "dance-grpo", toy_config()).trainer.epoch(1)
    assert np.isnan(record.clipped_T).tolist() == [False, False, False, True]
    assert np.isnan(record.gradient_T).tolist() == [False, False, False, True]
    assert all(0 <= share <= 1 for share in record.clipped_T[:3])


def test_the_gradient_of_a_step_grows_with_its_weight(tiny_generator_folder: Path, tmp_path: Path) -> None:
    """Proportionate weights are equal on an even grid, native ones rise: so do the shares of the gradient."""
    shares = {}
    for algorithm in ("log-hinge", "pcpo-flow"):
        record = toy_run(tiny_generator_folder, tmp_path, algorithm, toy_config()).trainer.epoch(1)
        shares[algorithm] = np.array(record.gradient_T[:3]) / np.sum(record.gradient_T[:3])
    weighting = step_weighting_of(FLOW, ALGORITHMS["log-hinge"], "flow")
    ratio_T = (weighting.weight_T / step_weighting_of(FLOW, ALGORITHMS["pcpo-flow"], "flow").weight_T)[
        :3
    ].numpy()
    expected = shares["pcpo-flow"] * ratio_T
    np.testing.assert_allclose(shares["log-hinge"], expected / expected.sum(), rtol=1e-3)


def test_the_same_seed_gives_the_same_weights(tiny_generator_folder: Path, tmp_path: Path) -> None:
    weights = []
    for _ in range(2):
        trainer = toy_run(tiny_generator_folder, tmp_path, "ddpo", toy_config(DDIM)).trainer
        trainer.epoch(1)
        trainer.epoch(2)
        weights.append(copy_of(trainer.policy.trainable()))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_pictures_of_one_prompt_may_begin_with_one_noise(tiny_generator_folder: Path, tmp_path: Path) -> None:
    config = toy_config(replace(FLOW, shared_start=True))
    seeds = toy_run(tiny_generator_folder, tmp_path, "dance-grpo", config).trainer._start_seeds(
        np.random.default_rng(0)
    )
    assert [len(set(seeds[i : i + 6])) for i in range(0, 24, 6)] == [1] * 4
    assert len(set(seeds)) == 4


def test_an_advantage_counts_up_to_its_bound(tiny_generator_folder: Path, tmp_path: Path) -> None:
    """With bounds that all advantages reach, twice the bound is twice the gradient; without one it is not."""
    norms = []
    for bound in (1e-4, 2e-4):
        config = toy_config(updates=1, advantage_clip=bound)
        record = toy_run(tiny_generator_folder, tmp_path / str(bound), "dance-grpo", config).trainer.epoch(1)
        norms.append(record.gradient_T[:3])
    assert norms[1] == pytest.approx([2 * norm for norm in norms[0]], rel=1e-3)


@pytest.mark.parametrize("algorithm", ["dance-grpo", "log-hinge", "pcpo", "pcpo-flow"])
def test_a_step_without_noise_weighs_nothing(algorithm: str) -> None:
    """It has no log-probability, so no credit; the other steps keep theirs."""
    weight_T = step_weighting_of(FLOW, ALGORITHMS[algorithm], "flow").weight_T
    assert not FLOW.last_is_noisy
    assert weight_T[-1] == 0
    assert (weight_T[:-1] > 0).all()


def test_a_policy_that_is_not_the_one_that_drew_ends_the_run(
    tiny_generator_folder: Path, tmp_path: Path
) -> None:
    run = toy_run(tiny_generator_folder, tmp_path, "ddpo", toy_config(DDIM))
    first_layer = run.parts.policy.network.get_submodule("conv_in")
    # Dropout that is on while learning and off while drawing: a mistake that is easily made.
    dropped = torch.nn.Dropout(0.2)
    first_layer.register_forward_hook(
        lambda _module, _inputs, output: dropped(output) if torch.is_grad_enabled() else output
    )
    with pytest.raises(ConflictError, match="before the first update"):
        run.trainer.epoch(1)


def test_a_sampler_of_the_other_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="ddim is not for a flow model"):
        step_weighting_of(DDIM, ALGORITHMS["ddpo"], "flow")
    with pytest.raises(InvalidInputError, match="uniform-sigma"):
        step_weighting_of(FLOW, ALGORITHMS["pcpo-sigma"], "flow")


def test_uniform_lambda_has_no_ratio_form() -> None:
    with pytest.raises(InvalidInputError, match="log-hinge"):
        replace(ALGORITHMS["pcpo-lambda"], objective="ppo-clip")
