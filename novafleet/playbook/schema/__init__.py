"""The schema of environment files: each key's shape, default, meaning and example. It decodes and it documents."""
