"""Places on the globe: within a distance of a point, or between two parallels and two meridians.

    a = sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)        distance = 2 R asin √a        (haversine)

Angles are in degrees; a place is latitude -90 to 90 (φ) and longitude -180 to 180 (λ), and anything else, NaN
above all, is none.

Dimension key   N places
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

EARTH_M = 6_371_008.8  # mean radius; the true distance differs by up to 0.6 %, as the Earth is flattened


def are_places(lat_N: Float64[ndarray, " n"], lon_N: Float64[ndarray, " n"]) -> Bool[ndarray, " n"]:
    return (np.abs(lat_N) <= 90.0) & (np.abs(lon_N) <= 180.0)


def distance_m(
    lat_N: Float64[ndarray, " n"], lon_N: Float64[ndarray, " n"], latitude: float, longitude: float
) -> Float64[ndarray, " n"]:
    """Along the surface, from each place to the given one."""
    phi_N, phi = np.radians(lat_N), np.radians(latitude)
    half_phi_N = np.sin((phi_N - phi) / 2)
    half_lambda_N = np.sin(np.radians(lon_N - longitude) / 2)
    a_N = half_phi_N**2 + np.cos(phi_N) * np.cos(phi) * half_lambda_N**2
    return 2.0 * EARTH_M * np.arcsin(np.sqrt(np.minimum(a_N, 1.0)))  # rounding takes antipodes beyond 1


def are_near(
    lat_N: Float64[ndarray, " n"],
    lon_N: Float64[ndarray, " n"],
    latitude: float,
    longitude: float,
    radius_m: float,
) -> Bool[ndarray, " n"]:
    """Places at most `radius_m` away. Only those between the parallels that the circle touches are measured.

    Beside a pole sums of angles end in the last digit of a float64: a nanometre is as good as none.
    """
    radius_m += 1e-9
    reach = np.degrees(radius_m / EARTH_M) + 1e-9
    near_N = are_places(lat_N, lon_N) & (np.abs(lat_N - latitude) <= reach)
    near_N[near_N] = distance_m(lat_N[near_N], lon_N[near_N], latitude, longitude) <= radius_m
    return near_N


def are_inside(
    lat_N: Float64[ndarray, " n"],
    lon_N: Float64[ndarray, " n"],
    south: float,
    west: float,
    north: float,
    east: float,
) -> Bool[ndarray, " n"]:
    """Places in a box with its edges. It goes east from `west` to `east`: over the antimeridian if `west` is
    the larger. The two names of the antimeridian are one, and a pole is in every box that reaches it.
    """
    is_east_N, is_west_N = lon_N >= west, lon_N <= east
    between_N = is_east_N & is_west_N if west <= east else is_east_N | is_west_N
    if 180.0 in (abs(west), abs(east)):
        between_N |= np.abs(lon_N) == 180.0
    between_N |= np.abs(lat_N) == 90.0
    return are_places(lat_N, lon_N) & (lat_N >= south) & (lat_N <= north) & between_N
