"""The Million Song Dataset by the protocol of Mult-VAE: popularity, EASE and iALS.

Songs of fewer than 200 listeners are dropped, then listeners of fewer than 20 songs; 50,000 are held out for the test,
and any number of plays counts as one. iALS has ν 1, σ 0.1 and 16 sweeps as in Rendle et al. 2021, whose best models
have thousands of factors: `--factors 8192`, better on an accelerator. Published rows (theirs, and those of Steck 2019),
and their w0 and λ, are to be added from the papers by whoever runs this on the real file.

    JAXALS_DATA=... python experiments/reproduce/msd.py         # reads msd/train_triplets.txt there
"""

import report
import strong

import jaxals
from jaxals.datasets.published import read_msd
from jaxals.evaluation import strong_generalization

arguments = strong.parse_options(__doc__, held_out_users=50_000)
jaxals.use_all_cores()

plays = read_msd(report.file_or_skip("msd/train_triplets.txt"))
_, split = strong_generalization(plays, arguments.held_out_users, min_users=200, min_items=20)
strong.write_table(
    "msd",
    "MSD, recall@20 / recall@50 / NDCG@100",
    split,
    jaxals.Objective.ials(unobserved_weight=0.02, regularization=0.002, frequency_exponent=1.0),
    ease=200.0,
    published={},
    arguments=arguments,
)
