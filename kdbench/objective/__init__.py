"""How far apart two sides are: pure functions (student, teacher, mask) -> (B,), one a module.

A module may say `COMPARES`, what may stand on the teacher's side:

    classes    gold class ids, (B,)
    values     the single output of a regression and its gold values, (B, 1) and (B,)
    logits     scores of classes, (B, C)
    tensors    what a knowledge reads of a layer, (B, ...)

Without it an objective compares values, logits and tensors.
"""
