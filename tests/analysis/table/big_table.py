"""A made-up table of ratings of any size, in the shape of the published one, written fast."""

from pathlib import Path

import numpy as np
import pandas as pd

ITEMS = (
    "Agenda",
    "Feedback",
    "Understanding",
    "Interpersonal Effectiveness",
    "Collaboration",
    "Pacing and Efficient Use of Time",
    "Guided Discovery",
    "Focusing on Key Cognitions or Behaviors",
    "Strategy for Change",
    "Application of Cognitive-Behavioral Techniques",
    "Homework",
)
GROUPS = tuple(
    f"{model}_{method}_made_up"
    for model in ("Llama", "Mistral", "Qwen")
    for method in ("Finetune", "Instruct")
)
SESSIONS = 20


def write_big(path: Path, patients: int, seed: int = 1) -> int:
    """Write 6 arms x `patients` x 20 sessions; answers how many rows."""
    draw = np.random.default_rng(seed)
    group, patient, session = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(len(GROUPS)), np.arange(patients), np.arange(1, SESSIONS + 1), indexing="ij"
        )
    )
    chain = draw.normal(0, 1, (len(GROUPS), patients))[group, patient]
    level = 5 + 0.8 * (group % 2 == 0) + 0.5 * chain
    scores = np.clip(
        np.rint(level[:, None] + draw.normal(0, 1, (len(group), len(ITEMS)))), 1, 10
    ).astype(int)
    table = pd.DataFrame(scores, columns=list(ITEMS))
    table.insert(0, "id", [f"{number}_made_up" for number in session.tolist()])
    table.insert(1, "patient_id", [f"patient {number}" for number in patient.tolist()])
    table.insert(2, "group", np.array(GROUPS)[group])
    table.to_csv(path, index=False)
    return len(table)
