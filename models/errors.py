"""What goes wrong with models and their files, in one line that says what to do."""


class ModelError(ValueError):
    """A model, tokenizer or checkpoint cannot be used as it is."""
