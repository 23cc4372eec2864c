"""Cases with known answers, a module for each part of the package."""
