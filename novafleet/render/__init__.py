"""Pure text and images made from the model."""
