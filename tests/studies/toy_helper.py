"""What the toy study reaches beside itself."""


def plane(x, slope):
    return slope * x.sum(1, keepdim=True)
