"""What placement would have done on a recorded grid: the same decisions, on months of real data.

    scenario ─► case ─► simulation of each rule ─► results, beside the optimum

Pure like the rest of the domain: randomness is drawn from generators of a stated seed, and time
passes on the trace alone.
"""
