"""Fine-tuning a generator towards a reward: PCPO and what it is compared with."""
