"""placeholder"""
def ensure(place, progress, *, debian): pass
