"""The Million Song Dataset by the protocol of Mult-VAE: popularity, EASE and iALS beside published rows.

Songs of fewer than 200 listeners are dropped, then listeners of fewer than 20 songs; 50,000 are held out for the test,
and any number of plays counts as one. Published are table 1 of Steck 2019 and table 4 of Rendle et al. 2021 (quoted;
not compared with the papers again): w0 0.02, λ 0.002, ν 1, σ 0.1, 16 sweeps and 8,192 factors, which `--factors 8192`
takes, too; better on an accelerator.

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
    published={
        "popularity": ((0.043, 0.068, 0.058), "Steck 2019"),
        "EASE": ((0.333, 0.428, 0.389), "Steck 2019"),
        "iALS": ((0.309, 0.415, 0.368), "Rendle et al. 2021, 8,192 factors"),
    },
    arguments=arguments,
)
