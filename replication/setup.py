"""The package is this folder itself, which pyproject.toml alone cannot say."""

from setuptools import find_packages, setup

setup(packages=["replication", *(f"replication.{name}" for name in find_packages())])
