"""Which VM could be on which host, and which moves make that so. Pure; numpy is loaded by the modules that compute."""
