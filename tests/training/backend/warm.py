"""What a training imports, imported: processes forked behind this begin at once."""

from cbt_ray.training.environment import settle

settle()

import bitsandbytes  # noqa: E402, F401
import datasets  # noqa: E402, F401
import peft  # noqa: E402, F401
import torch  # noqa: E402, F401
from transformers import AutoModelForCausalLM, LlamaForCausalLM, Trainer  # noqa: E402, F401
from trl import SFTConfig, SFTTrainer  # noqa: E402, F401
