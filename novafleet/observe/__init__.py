"""From collectors' text to facts: one framed script per host, pure parsers, frozen data."""
