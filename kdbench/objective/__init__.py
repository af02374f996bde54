"""How far apart two sides are: pure functions (student, teacher, mask) -> (B,), one a module.

A module may say `COMPARES`, what may stand on the teacher's side:

    classes         gold class ids, (B,)
    values          the single output of a regression and its gold values, (B, 1) and (B,)
    logits          scores of classes, (B, C)
    tensors         what a knowledge reads of a layer, (B, ...)
    probabilities   rows that are distributions already: a divergence would put a second softmax over them

Without it an objective compares values, logits, tensors and probabilities; where that depends on its options, a
function `compares(options)` says it. An objective around another has that one under the option `inner`, and compares
what that one does.

A module may also have a `check(key, options)`, which refuses options out of range, and say

    LEAST_CLASSES   below so many classes its gradient vanishes on logits
    IN_BATCH        True: a sample's loss depends on the other samples of its batch (negatives, a mean over the batch),
                    so that the size of a batch is part of the loss and cutting it into micro-batches changes it
"""
