from run_cases import provenance

__all__ = ["provenance"]
