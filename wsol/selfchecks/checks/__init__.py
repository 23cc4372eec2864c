"""Cases with known answers; each module has its checks in ``CHECKS``."""
