"""Environment files: read, included, filled with variables, checked, placed."""

from novafleet.playbook.draft import Draft, load_draft, load_environment

__all__ = ["Draft", "load_draft", "load_environment"]
