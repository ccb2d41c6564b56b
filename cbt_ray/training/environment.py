"""What the training libraries are told through the environment, before they are imported."""

from __future__ import annotations

import os
import sys

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}
"""Nothing is fetched, nothing reported. Threads that wait do not spin: beside a busy process a step that spins takes up to ten
times as long."""


def settle() -> None:
    """Set what is not set; call it before torch is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    loaded = sys.modules.get("huggingface_hub.constants")  # by a fetch before it, in the same process
    if loaded is not None:
        vars(loaded)["HF_HUB_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] == "1"
