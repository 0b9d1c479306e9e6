from run_cases import provenance, start_child

__all__ = ["provenance", "start_child"]
