"""The model card, written from configuration and measurement, so that it cannot say anything else."""

from pathlib import Path

from training.generator.config import GeneratorConfig
from training.generator.evaluate import Report
from training.generator.materials import IconSet

TEMPLATE = Path(__file__).with_name("card.md")


def card(
    config: GeneratorConfig, report: Report, sets: dict[str, IconSet], *, parameters: int, cpu_s: float
) -> str:
    """`sets`: those of `config.data.styles`, by their name."""
    data, training = config.data, config.training
    return TEMPLATE.read_text("utf-8").format(
        name=config.name,
        n_concepts=len(config.concepts),
        side=data.side_px,
        styles=", ".join(data.styles),
        concepts=", ".join(words[0] for words in config.concepts.values()),
        parameters=parameters / 1e6,
        tokens=config.model.tokens,
        patch=config.latents.patch_px,
        latent_channels=config.latents.channels,
        steps=training.steps,
        batch=training.batch * training.processes,
        seed=config.seed,
        minutes=cpu_s / 60,
        sample_steps=config.sampling.steps,
        guidance=config.sampling.guidance,
        n_backgrounds=len(data.backgrounds),
        captions=data.captions_per_picture,
        sets="\n".join(
            f"| {style} | `@iconify-json/{name}` | {sets[name].licence}, {sets[name].author} |"
            for style, name in data.styles.items()
        ),
        n_judged=report.concepts,
        n_styles=len(data.styles),
        chance_1=100 / report.concepts,
        chance_5=500 / report.concepts,
        cases="\n".join(
            f"| {name} | {case.made.pictures} | {case.made.top_1:.1f} | {case.made.top_5:.1f} "
            f"| {case.real.top_1:.1f} | {case.real.top_5:.1f} | {case.made.background:.1f} |"
            for name, case in report.cases.items()
        ),
        nearest="\n".join(
            f"| {name} | {row.feature:.3f} | {row.pixel:.1f} |" for name, row in report.nearest.items()
        ),
        vc_made=report.vendi_of_concepts["made"],
        vc_real=report.vendi_of_concepts["real"],
        vs_made=report.vendi_of_seeds["made"],
        vs_real=report.vendi_of_seeds["real"],
    )
