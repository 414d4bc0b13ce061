"""Bounds on the error of single-precision arithmetic."""


def single_precision_error(dimension: int) -> float:
    """Return an error bound for a float32 dot product of two float32-rounded unit vectors, in any order of summation.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1 (n units of roundoff for n
    products). The additional units cover the rounding of the vectors themselves.
    """
    return (dimension + 8) * 2.0**-24
