"""Read the dependencies from requirements.txt, without pip's options in it, which setuptools does not accept."""

from pathlib import Path

from setuptools import setup

lines = Path("requirements.txt").read_text(encoding="utf-8").splitlines()
setup(install_requires=[line for line in lines if line and not line.startswith(("#", "-"))])
