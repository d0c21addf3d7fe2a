"""Files people write: YAML with positions, decoded by a strict schema. Shared by inventory and playbook."""
