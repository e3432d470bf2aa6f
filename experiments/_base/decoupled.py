"""CAVIS, DVIS++ and DVIS-DAQ, each with its own recipe.

Their published cost is that of their own test size, for DVIS++ and DVIS-DAQ a short side of 480 on
YouTube-VIS.
"""

_base_ = "cavis.py"

changes = dict(
    dvis_plus=dict(recipe=dict(like="dvis_plus")),
    dvis_daq=dict(recipe=dict(like="dvis_daq")),
)
