"""Our Triton backend `huggingface`; in its image `model.py` lies beside this package."""
