"""How far arithmetic in single precision may be from the exact result."""


def single_precision_error(dimension: int) -> float:
    """Return a bound on the error of a float32 dot product of two float32-rounded unit vectors, however it is added.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1 (n units of roundoff for n
    products); the further ones are the rounding of the vectors themselves.
    """
    return (dimension + 8) * 2.0**-24
