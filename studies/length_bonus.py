"""train.py with the number of tokens in the place of ER: does a bonus for length alone do what VERL's bonus does?

    python studies/length_bonus.py --shaping er --seed 3 ...        any options of train.py

With --shaping er the bonus is min(max(0, tanh(d_ER)), |A| / kappa). Here ER is replaced by the length T of the
response, so that the bonus is min(max(0, tanh(d_T)), |A| / kappa): the same rule, and nothing of the hidden states in
it. `er` in the log is then the mean length.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import train
from rank import rank_metrics


def with_length(z, mask, stride, window=None):
    """rank_metrics of states z [B, T, D] and mask [B, T], with the length of each response as its "er"."""
    return rank_metrics(z, mask, stride, window) | {"er": mask.sum(1).double()}


if __name__ == "__main__":
    train.rank_metrics = with_length
    train.main()
    train.parallel.leave()
