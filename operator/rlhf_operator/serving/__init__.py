"""What runs in serving pods beside the guard: the artefact check and our Triton backend."""
