"""The constants of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA), as signed 64-bit numbers."""

ODD = -7046029254386353131  # 0x9E3779B97F4A7C15
MIX = -4658895280553007687  # 0xBF58476D1CE4E5B9
