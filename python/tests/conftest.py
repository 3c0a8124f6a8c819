"""Gives every suite the same isolated environment as the suites in tests/."""

from tests.conftest import empty_directory, patience, pytest_configure, pytest_unconfigure

__all__ = ["empty_directory", "patience", "pytest_configure", "pytest_unconfigure"]
