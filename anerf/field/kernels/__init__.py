"""The field's C++ kernels: their sources, how they are built, and the libraries in `lib/`.

Everything here is imported while a wheel is built, when neither torch nor numpy is there: only the standard
library may be imported.
"""
