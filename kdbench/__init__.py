"""kdbench: a build system for knowledge-distillation studies of transformer language models.

import kdbench
record = kdbench.run(kdbench.compose(["data=glue/rte", "knowledge=hidden", "student/size=l3_h384"]))
record["metrics"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["compose", "load_student", "run"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from kdbench.config import compose
    from kdbench.pipeline import run
    from kdbench.student_folder import load_student


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported when it is first asked for: importing kdbench itself stays instant."""
    if name == "compose":
        from kdbench.config import compose

        return compose
    if name == "run":
        from kdbench.pipeline import run

        return run
    if name == "load_student":
        from kdbench.student_folder import load_student

        return load_student
    raise AttributeError(f"module 'kdbench' has no attribute '{name}'")
