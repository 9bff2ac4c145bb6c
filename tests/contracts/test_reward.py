"""The law of `training.rewards.reward.Reward`, on every implementation."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8
from numpy import ndarray
from safetensors.numpy import save_file

from indexer.axis_store import AxisStore
from indexer.collection import Collection
from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError
from rerank.axes.teach import FromField, FromHead, FromPrompts, teach
from tests.support.build import new_image
from tests.support.files import halves, noise
from tests.support.generated_pictures import pictures
from tests.support.reward_server import RewardServer, reward_server
from tests.support.tiny_clip import DIM, MODEL, tiny_clip, tiny_encoder
from tests.support.tiny_rewards import PROMPT, liked, other, tiny_hps, tiny_pickscore
from training.rewards.cards import CARDS
from training.rewards.checked import CheckedReward
from training.rewards.config import PartConfig, RewardConfig
from training.rewards.preference import load_hps
from training.rewards.registry import RewardLoader, kind_of
from training.rewards.reward import Reward

ROUNDING = 1e-4  # of scores of about 1: other batch sizes take other summation orders
Picture = UInt8[ndarray, "h w 3"]
FLAT = np.full((64, 64, 3), 128, np.uint8)
VIVID = np.asarray(halves((255, 0, 0), (0, 0, 255), (64, 64)))
DETAIL = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PROMPTS = (PROMPT, "a green hill", "", "two dogs on a beach", "a red kite a red kite")
