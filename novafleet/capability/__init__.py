"""Vertical slices: each plans one kind of resource and carries its plan out. They never import each other."""
