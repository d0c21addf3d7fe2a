"""Partitions and ext2/3/4 file systems of a ``ports.BlockSource``, read only. What a disk says is not trusted."""
