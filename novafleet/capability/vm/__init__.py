"""Virtual machines: their domain XML, what differs, and how to get there."""
