"""The parity gate: whether an exported model is what was trained."""
