"""Elsewhere: what lies beside a dataset so that other programs load it without a question."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def dataset_card(name: str, language: str, splits: Sequence[str]) -> bytes:
    """A README.md by which `datasets.load_dataset(FOLDER)` finds the splits.

    Without it the splits are guessed from names, and dataset.json is read as an example.
    """
    files = [{"split": split, "path": f"{split}.jsonl"} for split in splits]
    fields = {
        "language": [language],
        "task_categories": ["text-generation"],
        "tags": ["cbt-ray", "synthetic", "not-for-clinical-use"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return (
        f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n\n# {name}\n\n"
        "Sessions that a study with cbt-ray trains on. **They must not be used to treat, diagnose "
        "or advise anybody.**\n"
    ).encode()
