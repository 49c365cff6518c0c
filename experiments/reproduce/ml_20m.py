"""MovieLens 20M by the protocol of Mult-VAE (strong generalization): popularity, EASE and iALS.

Ratings of 4 and more count, users with fewer than 5 are dropped, and 10,000 are held out for the test. EASE's row is
that of Steck 2019 as Vančura and Kordík 2021 ("VASP", table III) quote it. iALS has ν 1, σ 0.1 and 16 sweeps as in
Rendle et al. 2021, whose best models have thousands of factors: `--factors 2048`, better on an accelerator. Their
figures, and their w0 and λ, are to be added from the paper by whoever runs this on the real files.

    JAXALS_DATA=... python experiments/reproduce/ml_20m.py      # reads ml-20m/ratings.csv there
"""

import report
import strong

import jaxals
from jaxals.datasets.published import read_ml_20m
from jaxals.evaluation import strong_generalization

arguments = strong.parse_options(__doc__, held_out_users=10_000)
jaxals.use_all_cores()

ratings = read_ml_20m(report.file_or_skip("ml-20m/ratings.csv"))
_, split = strong_generalization(ratings[ratings["value"] > 3.5], arguments.held_out_users, min_items=5)
strong.write_table(
    "ml_20m",
    "ML-20M, recall@20 / recall@50 / NDCG@100",
    split,
    jaxals.Objective.ials(unobserved_weight=0.1, regularization=0.003, frequency_exponent=1.0),
    ease=500.0,
    published={"EASE": ((0.391, 0.521, 0.420), "Steck 2019")},
    arguments=arguments,
)
