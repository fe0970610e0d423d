"""Compiling the programs of a config for TPUs that are not there, and what the result says.

libtpu holds the compiler of TPUs, which needs none. `devices` gives the chips of a topology,
`programs` lowers what training, evaluation, prediction, explanation and export run, `hlo` reads a
compiled text, `chips` has the figures of the chips and their network, `estimate` makes times of it.
"""
