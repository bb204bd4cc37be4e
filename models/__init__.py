"""The networks: torch, transformers and peft. Token ids in, log-probabilities, values and token ids out."""
