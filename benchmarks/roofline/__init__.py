"""How near the students are to what this machine's arithmetic and memory allow, operator by operator.

`graphs` makes models of one operator, out of a student or of nothing but a size; `peaks` measures with the
latter what the runtime's own kernels reach at best; `shares` puts every operator of a student under that
roof, and a whole frame beside the bare runs in it; `page` draws it.

Source of the model: Williams, Waterman and Patterson, "Roofline" (2009).
"""
