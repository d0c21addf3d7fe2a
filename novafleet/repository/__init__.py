"""The backup repository: one documented format over any ``ports.ObjectStore``."""
