"""Network bodies that several systems use, with the parameter names of published checkpoints."""
