"""Our Triton backend `huggingface`; in its image these files lie flat in one folder."""
