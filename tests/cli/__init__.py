FAST = ["--factors", "4", "--sweeps", "3"]
