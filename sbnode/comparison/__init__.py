"""Two configurations on the same stored series: what each makes of it, and where the two differ.

Nothing is sent, and nothing in the spool changes.
"""

from sbnode.comparison.case import Agreement, Case, Refusal
from sbnode.comparison.comparison import Comparison, compare
from sbnode.comparison.page import write

__all__ = ["Agreement", "Case", "Comparison", "Refusal", "compare", "write"]
