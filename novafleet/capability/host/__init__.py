"""Hosts: is this one fit to be managed, and what would make it so."""
