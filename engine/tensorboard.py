"""The numbers of a run in TensorBoard's format, with --tensorboard; W&B reads the same folder (`wandb sync DIR`)."""


def summary_writer():
    """torch's SummaryWriter. ModuleNotFoundError with the remedy where the optional package tensorboard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter


class TensorBoard:
    """Writes to a folder."""

    def __init__(self, folder):
        self.writer = summary_writer()(folder)

    def write(self, line, step):
        """Every number of a line, nested ones as name/part; what is undefined is left out."""
        for name, value in line.items():
            if isinstance(value, dict):
                self.write({f"{name}/{part}": number for part, number in value.items()}, step)
            elif value is not None and name != "step":
                self.writer.add_scalar(name, value, step)
        self.writer.flush()


class Nowhere:
    """Without --tensorboard."""

    def write(self, line, step):
        pass
