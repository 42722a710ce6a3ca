"""What `scripts/gpu_check.py` needs to try Slipway on a GPU of one's own."""
