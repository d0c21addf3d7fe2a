"""The controllers and environments of the end-to-end tests."""

from tests.e2e.conftest import controller, environment

__all__ = ["controller", "environment"]
