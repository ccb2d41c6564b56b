"""Training: examples, masks, QLoRA behind one interface, checkpoints, merge and GGUF."""
