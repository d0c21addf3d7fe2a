"""Sphinx: Markdown through MyST, nothing fetched while building."""

project = "NovaFleet"
author = "The NovaFleet developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "changelog.d"]
html_theme = "alabaster"
html_theme_options = {"description": "Day-2 operations for KVM hosts you do not want to convert"}
myst_heading_anchors = 3
