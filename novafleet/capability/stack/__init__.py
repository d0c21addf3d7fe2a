"""Container stacks: a bundle of rendered files, run on the host with what the host has."""
