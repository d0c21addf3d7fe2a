"""Pure planning shared by the capabilities: dependencies, gates, graph order, fingerprints, plan files."""
