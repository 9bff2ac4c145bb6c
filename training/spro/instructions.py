"""What a Guider is told, for each objective; the structure is the paper's, the words are ours.

An answer is begun for the model with OPENING, and small models are shown EXAMPLES: without both, a model of
135 million weights seldom keeps to the form. Departures: docs/spro.md.
"""

from training.spro.guidance import CAPTION, MOST_STEPS, MOST_WORDS, Objective, Request

OPENING = "Step1_Plan:"

GOALS: dict[Objective, str] = {
    "aesthetic": "so that the picture is as beautiful as it can be",
    "preference": "so that people who compare pictures would choose this one",
    "engagement": "so that people who come across the picture stop, like it and share it",
}
LOOK = "Look at the picture first and say to yourself what it lacks. "

# (caption, answer): two, so that neither its subject nor its colours look like the rule.
EXAMPLES = (
    (
        "a teapot",
        "Step1_Plan: show one teapot in the middle.\n"
        "Step2_Plan: use a calm background.\n"
        f"{CAPTION} a teapot, soft shaded style, on a light green background",
    ),
    (
        "train, flat style",
        "Step1_Plan: keep the flat style.\n"
        f"Step2_Plan: use bright colours.\n{CAPTION} a red train, flat style, on a yellow background",
    ),
)


def system(objective: Objective, *, sees_pictures: bool) -> str:
    look = LOOK if sees_pictures else ""
    return (
        f"You write prompts for a program that draws, {GOALS[objective]}. {look}Write "
        f"at most {MOST_STEPS} lines, Step1_Plan:, Step2_Plan: and so on, each building on the one before, "
        f"then {CAPTION} and a prompt of at most {MOST_WORDS} words that keeps the subject and all details."
    )


def question(request: Request) -> str:
    return f"{CAPTION} {request.caption}"
