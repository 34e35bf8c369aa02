"""A kind of loss that the package does not have: scale |prediction - target|."""


def compute_errors(prediction, target, objective):
    return objective.scale * (prediction - target).abs().mean(dim=(1, 2, 3))


def tell_kohya(objective):
    return {"ss_loss_type": "l1"}
