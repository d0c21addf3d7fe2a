"""Moving a VM from host to host: the dossier, the data path, the ways of copying, and the way back."""
