"""What users write and read: kinds, reasons, metric names. Imports nothing else of ours."""
